import { randomBytes } from 'node:crypto';
import type { AedesOptions, AedesPublishPacket, AuthenticateError, Client, ConnectPacket } from 'aedes';
import { encodeReply } from '../../protocol/cvm/reply.ts';
import { replyTopic } from '../../protocol/cvm/topics.ts';
import { encodingOf } from '../../protocol/encoding.ts';
import { isSerial } from '../../protocol/serial.ts';
import { within } from '../../runtime/deadline.ts';
import type { Log } from '../../runtime/log.ts';
import type { Counters } from '../counters.ts';
import { acceptAcknowledgement, acceptRequest, checkVerified, type IntakeContext } from '../intake.ts';
import type { PskIdentity } from '../listener/psk.ts';
import type { RefusalAudit } from '../refusal-record.ts';
import { createSession, markVerified, presentToken, type Session, tokenOfHandshake } from '../session.ts';
import { classifyPublish, type Publication, replySerialOf } from './access.ts';

type Publish = Parameters<NonNullable<AedesOptions['authorizePublish']>>[1];
type Hooks = Required<
  Pick<AedesOptions, 'preConnect' | 'authenticate' | 'authorizePublish' | 'authorizeSubscribe' | 'authorizeForward'>
>;

/** CONNACK return code 4, bad user name or password [MQTT-3.2.2-4]. */
const badUserName = 4;

/**
 * What aedes asks us. Each hook is wrapped, since one that throws ends the process, and has a deadline, since one that
 * never calls back holds its connection for ever.
 */
export function createHooks(options: {
  intake: IntakeContext;
  /** what the TLS handshake of this stream has proven */
  provenBy(stream: object): PskIdentity | undefined;
  /** this stream's connection has proved a token */
  onProven(stream: object): void;
  refusals: RefusalAudit;
  counters: Counters;
  log: Log;
}): Hooks {
  const { intake, provenBy, onProven, refusals, counters, log } = options;
  const sessions = new WeakMap<Client, Session>();
  // a guess is counted, then the question is stored
  const hookMs = 2 * intake.limits.storeMs + 1000;

  /**
   * Runs a hook to its end, and says once what came of it. What aedes does then is aedes' own: if that throws, it ends this
   * connection, and neither the process nor the hook a second time.
   */
  async function answer<T>(
    client: Client | null,
    name: string,
    work: () => T | Promise<T>,
    done: (error: Error | undefined, outcome?: T) => void,
  ): Promise<void> {
    const ended = await within(hookMs, name, Promise.resolve().then(work)).then(
      (outcome) => () => done(undefined, outcome),
      (error: unknown) => () => done(errorOf(error)),
    );
    tell(client, name, ended);
  }

  /** The same, for a hook that waits for nothing. */
  function answerNow<T>(
    client: Client,
    name: string,
    work: () => T,
    done: (error: Error | undefined, outcome?: T) => void,
  ): void {
    let ended: () => void;
    try {
      const outcome = work();
      ended = () => done(undefined, outcome);
    } catch (error) {
      ended = () => done(errorOf(error));
    }
    tell(client, name, ended);
  }

  function tell(client: Client | null, hook: string, ended: () => void): void {
    try {
      ended();
    } catch (err) {
      log.error({ err, hook }, 'the MQTT broker threw; its connection is closed');
      (client?.conn as { destroy?(): void } | undefined)?.destroy?.();
    }
  }

  function sessionOf(client: Client | null): Session {
    const session = client === null ? undefined : sessions.get(client);
    if (session === undefined) throw new Error('there is no such connection');
    return session;
  }

  function begin(client: Client): Session {
    const { remoteAddress } = client.conn as { remoteAddress?: string };
    const session = createSession(
      remoteAddress,
      (topic, payload) => writeTo(client, topic, payload),
      () => onProven(client.conn),
    );
    sessions.set(client, session);
    const proven = provenBy(client.conn);
    if (proven !== undefined) {
      session.serial = proven.serial;
      session.connectToken = tokenOfHandshake(proven);
      markVerified(session, session.connectToken.recipientId);
      proven.keys.psk.fill(0);
      proven.keys.replySeed.fill(0);
      intake.pendingReplies.present(session, session.connectToken);
    }
    client.conn.once('close', () => tell(null, 'close', () => intake.pendingReplies.leave(session)));
    return session;
  }

  /** Who is who he says: the serial as user name, its token as password. @throws with a return code for CONNACK */
  function identify(session: Session, username: string, password: Buffer): void {
    if (!isSerial(username)) throw refusedUserName('the user name is not a serial');
    if (session.serial !== undefined && session.serial !== username)
      throw refusedUserName('the user name is not the serial that the pre-shared key belongs to');
    session.serial = username;
    session.connectToken = presentToken(session, username, password.toString());
    intake.pendingReplies.present(session, session.connectToken);
    // who is on the roster has its place from here on
    checkVerified(session, username, session.connectToken, intake);
  }

  async function publish(session: Session, packet: Publish): Promise<void> {
    const payload = packet.payload as Buffer;
    const { retain } = packet;
    // neither token nor retained message goes any further inside the broker
    packet.payload = Buffer.alloc(0);
    packet.retain = false;
    try {
      const publication = classifyPublish(packet.topic, packet.qos);
      if (publication.kind === 'forbidden') throw new Error(publication.reason);
      await take(session, publication, { payload, retain });
    } finally {
      payload.fill(0);
    }
  }

  async function take(
    session: Session,
    publication: Exclude<Publication, { kind: 'forbidden' }>,
    { payload, retain }: { payload: Buffer; retain: boolean },
  ): Promise<void> {
    counters.counts.requests++;
    const encoding = encodingOf(payload);
    session.encoding = encoding;
    const accepted =
      publication.kind === 'ack'
        ? await acceptAcknowledgement(session, publication.serial, { payload, retain }, intake)
        : await acceptRequest(session, publication.serial, { payload, retain }, intake);
    if (accepted.outcome === 'stored') {
      counters.counts.stored++;
      return;
    }
    counters.refused(accepted.problem.code);
    const { code, message } = accepted.problem;
    const { remoteAddress } = session;
    const alone = refusals.refused(publication.serial, remoteAddress, accepted.problem);
    // a serial that is none may have kilobytes, and a flood of refusals thousands of lines
    const serial = publication.serial.slice(0, 128);
    log[alone ? 'info' : 'debug']({ serial, remoteAddress, errorCode: code, reason: message }, 'refused');
    const form = { format: 'pem' as const, encoding, ...(accepted.id === undefined ? {} : { id: accepted.id }) };
    // where the device listens: the reply topic of the serial that it named. It goes to this connection only.
    await session.send(
      replyTopic(publication.serial),
      encodeReply({ status: 'rejected', problem: accepted.problem }, form, intake.now()),
    );
  }

  return {
    preConnect(client, packet, done) {
      const work = () => {
        const reason = connectFault(packet);
        if (reason !== undefined) throw new Error(reason);
        anonymize(packet, intake.limits.keepaliveSeconds);
        begin(client);
      };
      answerNow(client, 'preConnect', work, (error) => done(error ?? null, error === undefined));
    },
    authenticate(client, username, password, done) {
      const work = () => {
        // without a password a user name proves nothing: AWS's own clients send a line of metrics there
        if (username === undefined || password === undefined || password.length === 0) return;
        try {
          identify(sessionOf(client), username, password);
        } finally {
          password.fill(0);
        }
      };
      answerNow(client, 'authenticate', work, (error) =>
        done((error as AuthenticateError) ?? null, error === undefined ? true : null),
      );
    },
    authorizePublish(client, packet, done) {
      void answer(
        client,
        'authorizePublish',
        () => publish(sessionOf(client), packet),
        (error) => {
          if (error)
            log.info(
              { topic: packet.topic, err: { name: error.name, message: error.message } },
              'closing a connection without an acknowledgement',
            );
          done(error ?? null);
        },
      );
    },
    authorizeSubscribe(client, subscription, done) {
      const work = () => {
        const session = sessionOf(client);
        const serial = replySerialOf(subscription.topic, session.serial);
        if (serial === undefined) return null;
        session.serial = serial;
        session.subscribed = true;
        return subscription;
      };
      answerNow(client, 'authorizeSubscribe', work, (_error, granted) => done(null, granted ?? null));
    },
    /** Last line of defence: only what we are sending to this very connection leaves. */
    authorizeForward(client, packet) {
      const ours = sessions.get(client)?.sending.has(packet.payload as Buffer) ?? false;
      // null is what aedes takes for "no"; its type does not say so
      return ours ? packet : (null as unknown as AedesPublishPacket);
    },
  };
}

function refusedUserName(reason: string): Error {
  return Object.assign(new Error(reason), { returnCode: badUserName });
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function connectFault(packet: ConnectPacket): string | undefined {
  if (packet.will) return 'a will is refused: nobody publishes in the name of a device';
  if ((packet as { bridgeMode?: boolean }).bridgeMode) return 'bridges are refused';
  return undefined;
}

/**
 * Client ids are ours, so that two devices with the same one live side by side and nobody is thrown out by a namesake; a
 * session is always clean, so that no reply is ever stored for it. 22 characters: MQTT 3.1 allows 23 [MQTT 3.1, 3.1].
 */
function anonymize(packet: ConnectPacket, keepaliveSeconds: number): void {
  packet.clientId = randomBytes(16).toString('base64url');
  packet.clean = true;
  packet.keepalive = packet.keepalive ? Math.min(packet.keepalive, keepaliveSeconds) : keepaliveSeconds;
}

function writeTo(client: Client, topic: string, payload: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    if (client.closed) return reject(new Error('the connection is closed'));
    client.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, (error) =>
      error ? reject(error) : resolve(),
    );
  });
}
