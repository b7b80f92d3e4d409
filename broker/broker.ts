import { randomUUID } from 'node:crypto';
import { type Dialect, joinDialects } from '../protocol/dialect.ts';
import type { Line } from '../queue/line.ts';
import type { Pace } from '../queue/pace.ts';
import type { RequestQueue } from '../queue/provisioning-request.ts';
import type { ReplyFeed } from '../queue/replies.ts';
import type { TokenAttemptLimiter } from '../queue/token-attempts.ts';
import { addressList } from '../runtime/addresses.ts';
import type { Log } from '../runtime/log.ts';
import type { Tracing } from '../runtime/tracing.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Sightings } from '../telemetry/sightings.ts';
import { createDeviceRateLimit } from './device-rate-limit.ts';
import type { Limits } from './limits.ts';
import type { TlsSuites } from './listener/cipher-suites.ts';
import { createDeviceListener, type ServerTls, type TurnedAwayCounts } from './listener/listener.ts';
import { startMqttBroker } from './mqtt/aedes-broker.ts';
import { createPendingReplies } from './pending-replies.ts';
import { createRefusals } from './refusals.ts';
import { withReplyTo } from './reply-to.ts';
import type { Roster } from './roster.ts';
import { createBrokerSightings } from './sightings.ts';
import { createTimeAnswers, type TimeSigner } from './time-answers.ts';

export type BrokerOptions = {
  /** 0 takes a free one */
  readonly port: number;
  readonly listen: string;
  /** addresses and networks of balancers that send a PROXY protocol header */
  readonly proxyFrom: readonly string[];
  readonly tls: ServerTls;
  readonly requests: RequestQueue;
  readonly replies: ReplyFeed;
  /** from them devices are told how long they will wait */
  readonly line: Pick<Line, 'look'>;
  readonly pace: Pick<Pace, 'readPace'>;
  /** the devices that this site knows; with `noRoster` no device can use a pre-shared key */
  readonly roster: Roster;
  /** what devices may speak, side by side */
  readonly dialects: readonly Dialect[];
  readonly suites: TlsSuites;
  /** for devices without a clock */
  readonly time: TimeSigner;
  /** bounds what is tried at tokens that the roster does not know */
  readonly tokenAttempts: TokenAttemptLimiter;
  readonly audit: Audit;
  /** what is seen of devices, for `cvm explain` */
  readonly sightings: Sightings;
  readonly metrics: Metrics;
  /** absent where traces are off */
  readonly tracing?: Tracing | undefined;
  readonly log: Log;
  readonly now?: () => number;
  readonly newId?: () => string;
  readonly limits: Limits;
};

export type Broker = {
  readonly name: 'broker';
  readonly port: number;
  /** connections since the start that may have been devices, and were closed for lack of slots, by limit */
  turnedAway(): TurnedAwayCounts;
  /** connections that are open, with those that have not ended their handshake */
  openConnections(): number;
  /** For a health check: why requests that wait go unanswered, as far as the broker can tell, with the cure. */
  trouble(): string | undefined;
  /** From the next handshake on; connections stay. */
  useTls(material: ServerTls): void;
  close(): Promise<void>;
};

/** How often connections whose token was current are looked at, in milliseconds. 10,000 of them take some 10 ms. */
const reviewMs = 60_000;

/** Starts the MQTT broker that devices talk to. @throws when the port cannot be taken */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { requests, replies, line, pace, roster, tokenAttempts, audit, limits, metrics, log } = options;
  const { now = Date.now, newId = randomUUID, tracing } = options;
  const dialect = withReplyTo(joinDialects(options.dialects) as Dialect);
  const sightings = createBrokerSightings(options.sightings, roster);
  const refusals = createRefusals({ audit, sightings, log });
  const pendingReplies = createPendingReplies({
    feed: replies,
    line,
    pace,
    dialect,
    metrics,
    refusals,
    sightings,
    log,
    now,
    maxTokens: limits.maxTokensPerConnection,
    partMs: limits.partMs,
  });
  const mqtt = await startMqttBroker({
    intake: {
      requests,
      pendingReplies,
      roster,
      tokenAttempts,
      deviceRate: createDeviceRateLimit({
        messages: limits.messagesPerDevice,
        seconds: limits.messagesPerDeviceSeconds,
      }),
      claimRate: createDeviceRateLimit({
        messages: limits.messagesPerClaim,
        seconds: limits.messagesPerDeviceSeconds,
      }),
      acknowledgementRate: createDeviceRateLimit({
        messages: limits.acknowledgementsPerDevice,
        seconds: limits.acknowledgementsPerDeviceSeconds,
      }),
      limits,
      sightings,
      log,
      now,
      newId,
    },
    dialect,
    times: createTimeAnswers(options.time, { ...limits, log }),
    refusals,
    metrics,
    tracing,
    log,
  });
  const listener = createDeviceListener({
    tls: options.tls,
    suites: options.suites,
    limits,
    balancers: addressList(options.proxyFrom),
    roster,
    metrics,
    log,
    onConnection: mqtt.handle,
    onTurnedAway: refusals.connection,
    onHandshakeFailed: refusals.handshake,
  });
  // a token may also end without a change of its entry: it expires, or its replay window is over
  roster.onChange(listener.review);
  const reviewing = setInterval(() => listener.review(), reviewMs).unref();
  const port = await listener.listen(options.port, options.listen);
  await pendingReplies.start();

  return {
    name: 'broker',
    port,
    turnedAway: listener.turnedAway,
    openConnections: listener.open,
    trouble: pendingReplies.trouble,
    useTls: listener.useTls,
    async close() {
      clearInterval(reviewing);
      const closing = listener.close();
      pendingReplies.close();
      await mqtt.close();
      await closing.cut();
      refusals.close();
    },
  };
}
