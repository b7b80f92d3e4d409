import { type ErrorCode, type Problem, refusalOf } from '../protocol/problems.ts';
import { isSerial } from '../protocol/serial.ts';
import { createFloodLimit, type FloodLimits } from '../runtime/flood-limit.ts';
import type { Log } from '../runtime/log.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { closeFaultOf } from './closing-reasons.ts';
import type { HandshakeFailure } from './listener/handshake-failure.ts';
import type { BrokerSightings } from './sightings.ts';

/** Half of a day's lines at most are about one address, so others are seen beside a flood. All records of a day take less than 3 MB. */
const limits: FloodLimits = { perSecond: 10, perDay: 2500, perDayOfAll: 5000 };

/** The client that the broker turned away. `address`: limits count the connection under it. */
export type TurnedAway = {
  readonly serial?: string | undefined;
  readonly remoteAddress: string;
  readonly address: string;
  /** whether the connection has proved the token of its serial */
  readonly proven?: boolean;
};

export type Refusals = ReturnType<typeof createRefusals>;

/**
 * Records the refusals that the broker decides itself, without a worker: refused messages in the audit trail and the log; closed connections,
 * failed handshakes and refused subscriptions in the log. Any machine of the site network can cause these lines, so their number is bounded.
 */
export function createRefusals({ audit, sightings, log }: { audit: Audit; sightings: BrokerSightings; log: Log }) {
  const refused = createFloodLimit<ErrorCode>(limits, (byCode, ofLastSeconds) =>
    audit.record('refused-flood', { byCode, ofLastSeconds }),
  );
  const closed = createFloodLimit<'connections'>(limits, ({ connections }, ofLastSeconds) =>
    log.warn({ connections, ofLastSeconds }, 'closed more connections'),
  );
  const handshakes = createFloodLimit<'handshakes'>(limits, ({ handshakes: count }, ofLastSeconds) =>
    log.warn({ handshakes: count, ofLastSeconds }, 'more TLS handshakes failed'),
  );

  const subscriptions = createFloodLimit<'subscriptions'>(limits, ({ subscriptions: count }, ofLastSeconds) =>
    log.warn({ subscriptions: count, ofLastSeconds }, 'refused more subscriptions'),
  );

  const replies = createFloodLimit<'replies'>(limits, ({ replies: count }, ofLastSeconds) =>
    log.warn({ replies: count, ofLastSeconds }, 'more replies were not sent'),
  );
  const publications = createFloodLimit<'publications'>(limits, ({ publications: count }, ofLastSeconds) =>
    log.warn({ publications: count, ofLastSeconds }, 'refused more publications'),
  );

  const told = new WeakSet<TurnedAway>();

  return {
    /** The message is answered with `problem`. */
    message(
      connection: TurnedAway & {
        /** why its pre-shared key was not used, where it seems to have one */ readonly keyUnused?: object | undefined;
      },
      problem: Problem,
    ): void {
      const { serial, remoteAddress, address, keyUnused } = connection;
      const { code: errorCode, message: reason } = problem;
      const refusal = refusalOf(problem);
      const isOfKey = keyUnused !== undefined && errorCode === 'InvalidToken' && refusal.problem === undefined;
      sightings.note(connection, 'refused', isOfKey ? { ...refusal, keyUnused: true } : refusal);
      const about = { ...named(serial), remoteAddress, errorCode };
      const fits = refused.fits(address, errorCode);
      if (fits) audit.record('refused', about);
      log[fits ? 'info' : 'debug']({ ...about, reason }, 'refused');
    },
    /**
     * The broker closes the connection, which is told once. `reason` quotes nothing that the device sent. `loud`: what the operator has to
     * mend, and no device can.
     */
    connection(connection: TurnedAway, reason: string, loud: 'info' | 'warn' = 'info'): void {
      if (told.has(connection)) return;
      told.add(connection);
      const fault = closeFaultOf(reason);
      if (fault !== undefined) sightings.note(connection, 'closed', { why: fault });
      const { serial, remoteAddress, address } = connection;
      const level = closed.fits(address, 'connections') ? loud : 'debug';
      log[level]({ ...named(serial), remoteAddress, reason }, 'closing a connection');
    },
    /** TLS failed before any MQTT. `serial`: one that the handshake named and has not proved to be. */
    handshake({ serial, remoteAddress, address }: TurnedAway, { fault, reason }: HandshakeFailure): void {
      sightings.note({ serial, remoteAddress }, 'handshake-failed', { why: fault });
      const level = handshakes.fits(address, 'handshakes') ? 'info' : 'debug';
      log[level]({ ...named(serial), remoteAddress, reason }, 'a TLS handshake failed');
    },
    /** The device gets SUBACK 128, which many clients ignore. `reason` quotes nothing that the device sent. */
    subscription({ serial, remoteAddress, address }: TurnedAway, reason: string): void {
      const level = subscriptions.fits(address, 'subscriptions') ? 'info' : 'debug';
      log[level]({ ...named(serial), remoteAddress, reason }, 'refused a subscription');
    },
    /** The device of MQTT 5 gets a PUBACK that refuses its PUBLISH, and stays connected. `reason` quotes nothing that the device sent. */
    publication({ serial, remoteAddress, address }: TurnedAway, reason: string): void {
      const level = publications.fits(address, 'publications') ? 'info' : 'debug';
      log[level]({ ...named(serial), remoteAddress, reason }, 'refused a publication');
    },
    /** The device hears nothing: it has said that it takes no packet of this size. */
    unsent(connection: TurnedAway & { readonly maxPacket: number | undefined }, reason: string): void {
      const { serial, remoteAddress, address, maxPacket } = connection;
      if (maxPacket !== undefined) sightings.note(connection, 'too-large', { maxPacket });
      const level = replies.fits(address, 'replies') ? 'warn' : 'debug';
      log[level]({ ...named(serial), remoteAddress, reason }, 'a reply was not sent');
    },
    close(): void {
      replies.close();
      publications.close();
      subscriptions.close();
      handshakes.close();
      refused.close();
      closed.close();
    },
  };
}

/** Text that is not a serial may hold anything, a token too, and is not written down. */
function named(serial: string | undefined): { serial?: string } {
  return serial !== undefined && isSerial(serial) ? { serial } : {};
}
