import type { AedesOptions, Client } from 'aedes';
import type { Message } from '../../protocol/dialect.ts';
import { encodingOf } from '../../protocol/encoding.ts';
import { type Problem, problem, problems } from '../../protocol/problems.ts';
import { nonceOfTime, timeReplyTopic, timeTopics } from '../../protocol/time.ts';
import { topicFault } from '../../protocol/topic-fault.ts';
import type { Tracing } from '../../runtime/tracing.ts';
import { closingReasons } from '../closing-reasons.ts';
import { type Accepted, acceptMessage, type IncomingMessage, type IntakeContext } from '../intake.ts';
import { type Connection, connectionOf, knownConnectionOf } from '../listener/connection.ts';
import type { Published } from '../mqtt5/mqtt5.ts';
import { closingError, codes, reasonCodeOf } from '../mqtt5/reason-codes.ts';
import { addressed, isReplyTopicOf, noRoom, type ReplyTo, viewFor, whyTooLong } from '../reply-to.ts';
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
    const work = async () => {
      const session = sessions.of(client);
      const connection = client === null ? undefined : connectionOf(client.conn);
      const published = connection?.mqtt5?.takePublished();
      try {
        return await publish(session, client, { packet, published }, context);
      } catch (error) {
        if (connection === undefined || published === undefined) throw error;
        return refuse(connection, published, error as Error, context);
      }
    };
    void answerOnce.later(client, 'authorizePublish', work, (error, reply) => {
      if (error !== undefined && client !== null) sayOutage(client, error);
      done(error ?? null);
      if (error !== undefined && client !== null) refusals.connection(connectionOf(client.conn), reasonOf(error));
      reply?.().catch((err: unknown) => log.debug({ err }, 'a reply could not be written; the device asks again'));
    });
  };
}

/**
 * MQTT 5 can refuse a PUBLISH: by PUBACK, and the connection stays. With QoS 0 there is no PUBACK.
 * @throws what closes the connection
 */
function refuse(connection: Connection, { messageId }: Published, error: Error, { refusals }: HookContext): undefined {
  const code = reasonCodeOf(error);
  if (code === undefined || messageId === undefined) throw error;
  connection.mqtt5?.refuseMessage(messageId, code, error.message);
  refusals.publication(connection, error.message);
  return undefined;
}

/** What is no reason of MQTT is an outage, or a defect. */
const reasonOf = (error: Error): string =>
  reasonCodeOf(error) === undefined ? `${closingReasons.notStored}: ${error.message}` : error.message;

/** An outage, or a defect: in words of ours, since those of the error may name what is behind the gateway. */
function sayOutage({ conn }: Client, error: Error): void {
  if (reasonCodeOf(error) !== undefined) return;
  knownConnectionOf(conn)?.farewell(codes.serverBusy, 'the gateway cannot take requests in now: connect and ask again');
}

type Incoming = { readonly packet: Packet /** in MQTT 5 only */; readonly published: Published | undefined };

async function publish(
  session: Session,
  client: Client | null,
  { packet, published }: Incoming,
  context: HookContext,
): Promise<Reply | undefined> {
  const payload = packet.payload as Buffer;
  const { retain } = packet;
  // inside aedes, the message has neither a token nor the RETAIN flag
  packet.payload = Buffer.alloc(0);
  packet.retain = false;
  try {
    const isQos2 = packet.qos === 2;
    const reply = await replyTo(session, { topic: packet.topic, payload, retain, isQos2, published }, context);
    if (!isQos2) return reply;
    await reply?.();
    await flushed(client);
    throw closingError(codes.implementationSpecificError, 'QoS 2 is not offered');
  } finally {
    payload.fill(0);
  }
}

type Publication = Pick<Incoming, 'published'> & {
  readonly topic: string;
  readonly payload: Buffer;
  readonly retain: boolean;
  /** in MQTT 5 it never comes here */
  readonly isQos2: boolean;
};

async function replyTo(
  session: Session,
  { topic, payload, retain, isQos2, published }: Publication,
  context: HookContext,
): Promise<Reply | undefined> {
  const said = published === undefined ? undefined : withoutOwnAnswer(published, topic, session, context);
  const tooLong = whyTooLong(replyToOf(said));
  if (tooLong !== undefined) throw closingError(codes.quotaExceeded, tooLong);
  const nonce = nonceOfTime(topic);
  if (nonce !== undefined) {
    const unfit = isQos2 ? needsQos1 : retain ? problems.retained : undefined;
    const { correlationData } = said === undefined ? {} : timeAsAsked(said);
    return answerTime(session, { nonce, encoding: encodingOf(payload), unfit, correlationData }, context);
  }
  const read = context.dialect.read(topic, payload, viewFor(session, replyToOf(said)));
  if (read === undefined) throw closingError(codes.topicNameInvalid, whyNoTopic(topic, context));
  const message = said === undefined ? read : asAsked(read, said, session, context);
  return isQos2 ? rejection(session, message, needsQos1, context) : takeIn(session, { ...message, retain }, context);
}

function whyNoTopic(topic: string, { dialect }: HookContext): string {
  const fault = topicFault(topic, 'publish');
  return `devices publish to ${dialect.topics}, ${timeTopics} only${fault === undefined ? '' : `: ${fault}`}`;
}

const replyToOf = ({ responseTopic, correlationData }: Partial<Published> = {}): ReplyTo => ({
  topic: responseTopic,
  correlationData,
});

/**
 * Fleet Provisioning answers below the topic of the request, by outcome. A client that names one of the two as Response Topic, as tools do that send a
 * request and wait for its answer, asks for what it gets in any case.
 */
function withoutOwnAnswer(published: Published, topic: string, session: Session, { dialect }: HookContext): Published {
  const { responseTopic = '' } = published;
  const isOwn = responseTopic.startsWith(`${topic}/`) && dialect.readFilter(responseTopic, session) !== undefined;
  return isOwn ? { ...published, responseTopic: undefined } : published;
}

/**
 * The message with what MQTT 5 said of its answer.
 * @throws when the answer may not go there, and when it comes too late
 */
function asAsked(
  message: Message,
  published: Published,
  session: Session,
  { dialect }: HookContext,
): Message & Pick<IncomingMessage, 'maxWaitMs'> {
  const replyTo = replyToOf(published);
  const serial = message.serial ?? session.serial;
  if (replyTo.topic !== undefined && (serial === undefined || !isReplyTopicOf(replyTo.topic, serial, dialect, session)))
    throw closingError(codes.notAuthorized, foreignResponseTopic);
  return { ...message, form: addressed(message.form, replyTo), maxWaitMs: msLeft(published) };
}

/** The time is told at one topic: a device that asks for it has proved nothing. @throws as `asAsked` */
function timeAsAsked(published: Published): Published {
  const { responseTopic } = published;
  if (responseTopic !== undefined && responseTopic !== timeReplyTopic)
    throw closingError(codes.notAuthorized, `the time is told at ${timeReplyTopic}: use this Response Topic, or none`);
  msLeft(published);
  return published;
}

/** @returns undefined where it does not expire @throws when it has [MQTT 5, 3.3.2.3.3] */
function msLeft({ expiresAt }: Published): number | undefined {
  if (expiresAt === undefined) return undefined;
  const left = Math.round(expiresAt - performance.now());
  if (left > 0) return left;
  throw closingError(codes.implementationSpecificError, 'its Message Expiry Interval had passed: ask again');
}

const foreignResponseTopic =
  'its Response Topic is not one where this device is answered: use none, or cvm/reply/<serial>, or a topic below it; for Fleet Provisioning the one of its own answers';

/** A PUBACK would be a protocol violation, so the connection must end after the rejection. */
const needsQos1 = problem('InvalidRequest', 'QoS 2 is not offered: publish with QoS 1');

/** Resolves when all that was written to the connection has been sent. */
const flushed = (client: Client | null) =>
  new Promise<void>((resolve) => (client === null ? resolve() : void client.conn.end(() => resolve())));

async function takeIn(session: Session, message: IncomingMessage, context: HookContext): Promise<Reply | undefined> {
  const { metrics, intake, tracing } = context;
  const { kind } = message;
  metrics.messagesReceived.inc({ kind });
  session.published(message);
  const accepted = await (tracing === undefined
    ? acceptMessage(session, message, intake)
    : tracedIntake(session, message, intake, tracing));
  if (accepted.outcome === 'refused') return rejection(session, message, accepted.problem, context);
  metrics.messagesStored.inc({ kind });
  return undefined;
}

/** The first span of a trace: from a device's message to its PUBACK. */
function tracedIntake(
  session: Session,
  message: IncomingMessage,
  intake: IntakeContext,
  tracing: Tracing,
): Promise<Accepted> {
  const attributes = {
    'messaging.system': 'mqtt',
    'messaging.operation.type': 'receive',
    'client.address': session.address,
  };
  return tracing.span(
    `mqtt receive ${message.kind}`,
    'packet',
    attributes,
    () => acceptMessage(session, message, intake),
    (accepted) => ({
      'cvm.outcome': accepted.outcome,
      ...(session.serial === undefined ? {} : { 'cvm.serial': session.serial }),
      ...(accepted.outcome === 'refused' ? { 'cvm.error_code': accepted.problem.code } : {}),
    }),
  );
}

function rejection(
  session: Session,
  { kind, serial, form }: Pick<IncomingMessage, 'kind' | 'serial' | 'form'>,
  reason: Problem,
  { metrics, dialect, intake, refusals }: HookContext,
): Reply {
  metrics.messagesRefused.inc({ kind, error_code: reason.code });
  const { remoteAddress, address, keyUnused } = session;
  // a topic may name another serial than the connection has proved
  const proven = session.proven && (serial === undefined || serial === session.serial);
  refusals.message({ serial: serial ?? session.serial, remoteAddress, address, proven, keyUnused }, reason);
  // to the reply topic of the serial that the message named, even a foreign one; it is sent to this connection only
  const written = dialect.write({ status: 'rejected', problem: reason }, form, session, intake.now());
  // in MQTT 3.1.1 without a PUBACK and with a reason in the log: there is no other way to tell
  if (written === undefined || 'parts' in written)
    throw closingError(codes.implementationSpecificError, noRoom(session));
  return () => session.send(written.topic, written.payload, written.properties);
}
