import type { AedesOptions, Client } from 'aedes';
import { encodingOf } from '../../protocol/encoding.ts';
import { type Problem, problem, problems } from '../../protocol/problems.ts';
import { nonceOfTime, timeTopics } from '../../protocol/time.ts';
import { acceptMessage, type IncomingMessage } from '../intake.ts';
import { connectionOf } from '../listener/connection.ts';
import type { Session } from '../session.ts';
import type { HookContext } from './context.ts';
import { answerTime } from './time.ts';

type Packet = Parameters<NonNullable<AedesOptions['authorizePublish']>>[1];

/** What the broker says by itself, without a worker: a rejection, or the time. Resolves when it is written. */
type Reply = () => Promise<void>;

/**
 * A PUBLISH of a device. aedes sends the PUBACK when this calls back without an error, so the message is stored or refused
 * before; a rejection, and the time, follow their PUBACK. An error closes the connection without a PUBACK.
 */
export function createAuthorizePublish(context: HookContext): NonNullable<AedesOptions['authorizePublish']> {
  const { sessions, answerOnce, refusals, log } = context;
  return (client, packet, done) => {
    const work = async () => publish(sessions.of(client), client, packet, context);
    void answerOnce.later(client, 'authorizePublish', work, (error, reply) => {
      done(error ?? null);
      if (error !== undefined && client !== null) refusals.connection(connectionOf(client.conn), error.message);
      reply?.().catch((err: unknown) => log.debug({ err }, 'a reply could not be written; the device asks again'));
    });
  };
}

async function publish(
  session: Session,
  client: Client | null,
  packet: Packet,
  context: HookContext,
): Promise<Reply | undefined> {
  const payload = packet.payload as Buffer;
  const { retain } = packet;
  // inside aedes, the message has neither a token nor the RETAIN flag
  packet.payload = Buffer.alloc(0);
  packet.retain = false;
  try {
    const isQos2 = packet.qos === 2;
    const reply = await replyTo(session, { topic: packet.topic, payload, retain, isQos2 }, context);
    if (!isQos2) return reply;
    await reply?.();
    await flushed(client);
    throw new Error('QoS 2 is not offered');
  } finally {
    payload.fill(0);
  }
}

type Publication = {
  readonly topic: string;
  readonly payload: Buffer;
  readonly retain: boolean;
  readonly isQos2: boolean;
};

async function replyTo(
  session: Session,
  { topic, payload, retain, isQos2 }: Publication,
  context: HookContext,
): Promise<Reply | undefined> {
  const nonce = nonceOfTime(topic);
  if (nonce !== undefined) {
    const unfit = isQos2 ? needsQos1 : retain ? problems.retained : undefined;
    return answerTime(session, { nonce, encoding: encodingOf(payload), unfit }, context);
  }
  const message = context.dialect.read(topic, payload, session);
  if (message === undefined) throw new Error(`devices publish to ${context.dialect.topics}, ${timeTopics} only`);
  return isQos2 ? rejection(session, message, needsQos1, context) : takeIn(session, { ...message, retain }, context);
}

/** A PUBACK would be a protocol violation, so the connection must end after the rejection. */
const needsQos1 = problem('InvalidRequest', 'QoS 2 is not offered: publish with QoS 1');

/** Resolves when all that was written to the connection has been sent. */
const flushed = (client: Client | null) =>
  new Promise<void>((resolve) => (client === null ? resolve() : void client.conn.end(() => resolve())));

async function takeIn(session: Session, message: IncomingMessage, context: HookContext): Promise<Reply | undefined> {
  const { metrics, intake } = context;
  const { kind } = message;
  metrics.messagesReceived.inc({ kind });
  session.published(message);
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
): Reply {
  metrics.messagesRefused.inc({ kind, error_code: reason.code });
  const { remoteAddress, address } = session;
  refusals.message({ serial: serial ?? session.serial, remoteAddress, address }, reason);
  // to the reply topic of the serial that the message named, even a foreign one; it is sent to this connection only
  const written = dialect.write({ status: 'rejected', problem: reason }, form, session, intake.now());
  if (written === undefined || 'parts' in written) throw new Error(noRoom(session));
  return () => session.send(written.topic, written.payload);
}

/** Without a PUBACK and with a reason in the log: there is no other way to tell. */
const noRoom = ({ maxPacket }: Session): string =>
  `no reply to this serial fits into packets of ${maxPacket} bytes: its reply topic is too long for them`;
