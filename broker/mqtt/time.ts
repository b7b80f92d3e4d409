import type { Encoding } from '../../protocol/encoding.ts';
import { packetFor, payloadRoom } from '../../protocol/packet-size.ts';
import type { Problem } from '../../protocol/problems.ts';
import { encodeTime, encodeTimeRefusal, timeReplyTopic, timeTooLong } from '../../protocol/time.ts';
import { closingError, codes } from '../mqtt5/reason-codes.ts';
import { propertyBytes } from '../mqtt5/sent.ts';
import { noRoom } from '../reply-to.ts';
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
  const { serial, remoteAddress, address, maxPacket, isMqtt5 } = session;
  const send = (payload: Buffer) => () => session.send(timeReplyTopic, payload, { correlationData });
  const extraBytes = isMqtt5 ? propertyBytes({ correlationData }) : 0;
  const room = maxPacket === undefined ? Number.POSITIVE_INFINITY : payloadRoom(timeReplyTopic, maxPacket, extraBytes);
  const refuse = (reason: Problem) => {
    metrics.messagesRefused.inc({ kind: 'time', error_code: reason.code });
    refusals.message({ serial, remoteAddress, address }, reason);
    const payload = encodeTimeRefusal(reason, encoding, room);
    if (payload === undefined) throw closingError(codes.implementationSpecificError, noRoom(session));
    return send(payload);
  };
  metrics.messagesReceived.inc({ kind: 'time' });
  const answer = unfit === undefined ? times.answer(session, nonce, intake.now()) : { problem: unfit };
  if ('problem' in answer) return refuse(answer.problem);
  const payload = encodeTime(answer.time, answer.signature, encoding);
  if (payload.length <= room) return send(payload);
  return refuse(timeTooLong(packetFor(timeReplyTopic, payload.length, extraBytes)));
}
