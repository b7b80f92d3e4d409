import type { AedesOptions } from 'aedes';
import type { Problem } from '../../protocol/problems.ts';
import { acceptMessage, type IncomingMessage } from '../intake.ts';
import type { Session } from '../session.ts';
import type { HookContext } from './context.ts';

type Packet = Parameters<NonNullable<AedesOptions['authorizePublish']>>[1];

/**
 * A PUBLISH of a device. aedes sends the PUBACK when this calls back without an error, so the message is stored or refused
 * before. An error closes the connection without a PUBACK: MQTT 3.1.1 has no other way to say no.
 */
export function createAuthorizePublish(context: HookContext): NonNullable<AedesOptions['authorizePublish']> {
  const { sessions, answerOnce, log } = context;
  return (client, packet, done) => {
    const work = async () => publish(sessions.of(client), packet, context);
    void answerOnce.later(client, 'authorizePublish', work, (error) => {
      if (error !== undefined) {
        const { name, message } = error;
        log.info({ topic: packet.topic, err: { name, message } }, 'closing a connection without an acknowledgement');
      }
      done(error ?? null);
    });
  };
}

async function publish(session: Session, packet: Packet, context: HookContext): Promise<void> {
  const payload = packet.payload as Buffer;
  const { retain } = packet;
  // inside aedes, the message has neither a token nor the RETAIN flag
  packet.payload = Buffer.alloc(0);
  packet.retain = false;
  try {
    if (packet.qos > 1) throw new Error('QoS 2 is not offered');
    const message = context.dialect.read(packet.topic, payload, session);
    if (message === undefined) throw new Error(`devices publish to ${context.dialect.topics} only`);
    await takeIn(session, { ...message, retain }, context);
  } finally {
    payload.fill(0);
  }
}

async function takeIn(session: Session, message: IncomingMessage, context: HookContext): Promise<void> {
  const { metrics, dialect, intake } = context;
  const { kind } = message;
  metrics.messagesReceived.inc({ kind });
  session.published(message.encoding);
  const accepted = await acceptMessage(session, message, intake);
  if (accepted.outcome === 'stored') {
    metrics.messagesStored.inc({ kind });
    return;
  }
  const { problem } = accepted;
  recordRefusal(session, message, problem, context);
  // to the reply topic of the serial that the message named, even a foreign one; it is sent to this connection only
  const refusal = dialect.write({ status: 'rejected', problem }, message.form, session, intake.now());
  await session.send(refusal.topic, refusal.payload);
}

function recordRefusal(
  session: Session,
  message: IncomingMessage,
  problem: Problem,
  { metrics, refusals, log }: HookContext,
): void {
  const { remoteAddress } = session;
  // a text that is no serial may have kilobytes, and a flood of refusals thousands of lines
  const serial = (message.serial ?? session.serial ?? '').slice(0, 128);
  const recorded = refusals.refused(serial, remoteAddress, problem);
  const { code: errorCode, message: reason } = problem;
  metrics.messagesRefused.inc({ kind: message.kind, error_code: errorCode });
  log[recorded ? 'info' : 'debug']({ serial, remoteAddress, errorCode, reason }, 'refused');
}
