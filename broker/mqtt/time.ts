import type { Encoding } from '../../protocol/encoding.ts';
import type { Problem } from '../../protocol/problems.ts';
import { encodeTime, encodeTimeRefusal, timeReplyTopic } from '../../protocol/time.ts';
import type { Session } from '../session.ts';
import type { HookContext } from './context.ts';

/** A PUBLISH to a time topic. `unfit`: why it gets no answer, whatever it asks. */
export type TimeQuestion = {
  readonly nonce: string;
  readonly encoding: Encoding;
  readonly unfit: Problem | undefined;
  /** of MQTT 5 */
  readonly correlationData?: Buffer | undefined;
};

/**
 * Answers a question for the time. It binds the connection to no serial and needs no token. @returns sends the answer, to this connection
 * alone, whatever it subscribed to
 */
export function answerTime(
  session: Session,
  { nonce, encoding, unfit, correlationData }: TimeQuestion,
  { times, metrics, refusals, intake }: HookContext,
): () => Promise<void> {
  const send = (payload: Buffer) => () => session.send(timeReplyTopic, payload, { correlationData });
  metrics.messagesReceived.inc({ kind: 'time' });
  const answer = unfit === undefined ? times.answer(session, nonce, intake.now()) : { problem: unfit };
  if (!('problem' in answer)) return send(encodeTime(answer.time, answer.signature, encoding));
  const { serial, remoteAddress, address } = session;
  metrics.messagesRefused.inc({ kind: 'time', error_code: answer.problem.code });
  refusals.message({ serial, remoteAddress, address }, answer.problem);
  return send(encodeTimeRefusal(answer.problem, encoding));
}
