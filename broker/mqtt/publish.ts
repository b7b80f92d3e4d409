import type { AedesOptions, Client } from 'aedes';
import { type Problem, problem } from '../../protocol/problems.ts';
import { acceptMessage, type IncomingMessage } from '../intake.ts';
import { connectionOf } from '../listener/connection.ts';
import type { Session } from '../session.ts';
import type { HookContext } from './context.ts';

type Packet = Parameters<NonNullable<AedesOptions['authorizePublish']>>[1];

/** A message that is refused: sends the rejection. Resolves when it is written. */
type Reject = () => Promise<void>;

/**
 * A PUBLISH of a device. aedes sends the PUBACK when this calls back without an error, so the message is stored or refused
 * before; a rejection follows its PUBACK. An error closes the connection without a PUBACK.
 */
export function createAuthorizePublish(context: HookContext): NonNullable<AedesOptions['authorizePublish']> {
  const { sessions, answerOnce, refusals, log } = context;
  return (client, packet, done) => {
    const work = async () => publish(sessions.of(client), client, packet, context);
    void answerOnce.later(client, 'authorizePublish', work, (error, reject) => {
      done(error ?? null);
      if (error !== undefined && client !== null) refusals.connection(connectionOf(client.conn), error.message);
      reject?.().catch((err: unknown) => log.debug({ err }, 'a rejection could not be written; the device asks again'));
    });
  };
}

async function publish(
  session: Session,
  client: Client | null,
  packet: Packet,
  context: HookContext,
): Promise<Reject | undefined> {
  const payload = packet.payload as Buffer;
  const { retain } = packet;
  // inside aedes, the message has neither a token nor the RETAIN flag
  packet.payload = Buffer.alloc(0);
  packet.retain = false;
  try {
    const message = context.dialect.read(packet.topic, payload, session);
    if (message === undefined) throw new Error(`devices publish to ${context.dialect.topics} only`);
    if (packet.qos < 2) return await takeIn(session, { ...message, retain }, context);
    await rejection(session, message, needsQos1, context)();
    await flushed(client);
    throw new Error('QoS 2 is not offered');
  } finally {
    payload.fill(0);
  }
}

/** A PUBACK would be a protocol violation, so the connection must end after the rejection. */
const needsQos1 = problem('InvalidRequest', 'QoS 2 is not offered: publish with QoS 1');

/** Resolves when all that was written to the connection has been sent. */
const flushed = (client: Client | null) =>
  new Promise<void>((resolve) => (client === null ? resolve() : void client.conn.end(() => resolve())));

async function takeIn(session: Session, message: IncomingMessage, context: HookContext): Promise<Reject | undefined> {
  const { metrics, intake } = context;
  const { kind } = message;
  metrics.messagesReceived.inc({ kind });
  session.published(message.encoding);
  const accepted = await acceptMessage(session, message, intake);
  if (accepted.outcome === 'refused') return rejection(session, message, accepted.problem, context);
  metrics.messagesStored.inc({ kind });
  return undefined;
}

function rejection(
  session: Session,
  { kind, serial, form }: Pick<IncomingMessage, 'kind' | 'serial' | 'form'>,
  reason: Problem,
  { metrics, dialect, intake, refusals }: HookContext,
): Reject {
  metrics.messagesRefused.inc({ kind, error_code: reason.code });
  const { remoteAddress, address } = session;
  refusals.message({ serial: serial ?? session.serial, remoteAddress, address }, reason);
  // to the reply topic of the serial that the message named, even a foreign one; it is sent to this connection only
  const { topic, payload } = dialect.write({ status: 'rejected', problem: reason }, form, session, intake.now());
  return () => session.send(topic, payload);
}
