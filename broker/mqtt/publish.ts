import type { AedesOptions } from 'aedes';
import { acceptMessage, type IncomingMessage } from '../intake.ts';
import type { Session } from '../session.ts';
import type { HookContext } from './context.ts';

type Packet = Parameters<NonNullable<AedesOptions['authorizePublish']>>[1];

/**
 * A PUBLISH of a device. aedes sends the PUBACK when this calls back without an error, so the message is stored or refused
 * before. An error closes the connection without a PUBACK: MQTT 3.1.1 has no other way to say no.
 */
export function createAuthorizePublish(context: HookContext): NonNullable<AedesOptions['authorizePublish']> {
  const { sessions, answerOnce, refusals } = context;
  return (client, packet, done) => {
    const work = async () => publish(sessions.of(client), packet, context);
    void answerOnce.later(client, 'authorizePublish', work, (error) => {
      done(error ?? null);
      if (error !== undefined) refusals.connection(sessions.of(client), error.message);
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
  const { metrics, dialect, intake, refusals } = context;
  const { kind } = message;
  metrics.messagesReceived.inc({ kind });
  session.published(message.encoding);
  const accepted = await acceptMessage(session, message, intake);
  if (accepted.outcome === 'stored') {
    metrics.messagesStored.inc({ kind });
    return;
  }
  const { problem } = accepted;
  metrics.messagesRefused.inc({ kind, error_code: problem.code });
  const { remoteAddress, address } = session;
  refusals.message({ serial: message.serial ?? session.serial, remoteAddress, address }, problem);
  // to the reply topic of the serial that the message named, even a foreign one; it is sent to this connection only
  const refusal = dialect.write({ status: 'rejected', problem }, message.form, session, intake.now());
  await session.send(refusal.topic, refusal.payload);
}
