import { EventEmitter } from 'node:events';
import type { AedesPublishPacket, Client, ConnectPacket } from 'aedes';
import { expect } from 'vitest';
import { createDeviceRateLimit } from '../../broker/device-rate-limit.ts';
import type { IntakeContext } from '../../broker/intake.ts';
import { defaultLimits } from '../../broker/limits.ts';
import { attachConnection, Connection } from '../../broker/listener/connection.ts';
import type { PskIdentity } from '../../broker/listener/psk.ts';
import { createHooks, type Hooks } from '../../broker/mqtt/hooks.ts';
import { createPendingReplies } from '../../broker/pending-replies.ts';
import { createTimeAnswers } from '../../broker/time-answers.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import type { Dialect } from '../../protocol/dialect.ts';
import { type RequestQueue, requestKeyOf } from '../../queue/provisioning-request.ts';
import type { BoundReply } from '../../queue/replies.ts';
import { unlimitedTokenAttempts } from '../../queue/token-attempts.ts';
import { createLog } from '../../runtime/log.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { noLine } from './no-line.ts';
import { goldenSigner } from './time.ts';
import { noBrokerSightings } from './unguarded.ts';

export const token = 'the-token-of-this-very-device';
export const later = (ms = 20) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** The hooks of one broker, with a queue and pending replies of which each part may be replaced. Every token is on the roster. */
export function hooksOf({
  requests = {},
  pendingReplies: replaced = {},
  dialect = cvm,
}: {
  requests?: Partial<RequestQueue>;
  pendingReplies?: Partial<IntakeContext['pendingReplies']>;
  dialect?: Dialect;
} = {}) {
  const log = createLog('silent');
  let ids = 0;
  const { metrics } = createMetrics();
  let announce: (reply: BoundReply) => void = () => {};
  const feed = {
    listen: async (listener: typeof announce) => {
      announce = listener;
    },
    fetch: async () => [],
    close: async () => {},
  };
  const pendingReplies = {
    ...createPendingReplies({
      ...{ ...noLine, feed, dialect, metrics, log, now: Date.now, maxTokens: 8, partMs: 1000 },
      refusals: { message() {}, unsent() {} },
      sightings: noBrokerSightings,
    }),
    ...replaced,
  };
  void pendingReplies.start();
  const intake: IntakeContext = {
    requests: {
      add: async (request) => ({ requestId: request.requestId, requestKey: requestKeyOf(request) }),
      acknowledge: async () => {},
      close: async () => {},
      ...requests,
    },
    pendingReplies,
    roster: { matchesToken: () => true, isCurrent: () => true, requestLookup() {} },
    tokenAttempts: unlimitedTokenAttempts,
    deviceRate: createDeviceRateLimit({ messages: 100, seconds: 10 }),
    claimRate: createDeviceRateLimit({ messages: 100, seconds: 10 }),
    acknowledgementRate: createDeviceRateLimit({ messages: 10, seconds: 60 }),
    limits: { ...defaultLimits, storeMs: 100 },
    sightings: noBrokerSightings,
    log,
    now: Date.now,
    newId: () => `request-${++ids}`,
  };
  const times = createTimeAnswers(goldenSigner, { ...defaultLimits, log });
  const nothing = () => {};
  const refusals = {
    ...{ message: nothing, connection: nothing, handshake: nothing, subscription: nothing },
    ...{ publication: nothing, unsent: nothing, close: nothing },
  };
  const options = { intake, dialect, times, refusals, metrics, log };
  return {
    options,
    hooks: createHooks(options),
    announce: (reply: BoundReply) => announce(reply),
    close: () => pendingReplies.close(),
  };
}

/** What the device listener knows of a stream; `psk` where the device authenticated in its TLS handshake. */
export function asConnection<Stream extends object>(stream: Stream, psk?: PskIdentity): Stream {
  const remoteAddress = '127.0.0.1';
  const slot = { address: remoteAddress, begun() {}, connected() {}, verified() {}, closed() {} };
  const pace = { take: () => true, wait() {}, verified() {}, unverified() {}, stop() {} };
  return attachConnection(stream, new Connection({ remoteAddress, slot, pace, psk }));
}

type Write = (packet: AedesPublishPacket, done: (error?: Error) => void) => void;
export const noWrite: Write = (_packet, done) => done();

/** A connection as aedes shows it to hooks; `write` gets what is sent to it. */
export function clientOf(write: Write = noWrite, psk?: PskIdentity): Client {
  return {
    conn: asConnection(Object.assign(new EventEmitter(), { end: (sent: () => void) => sent() }), psk),
    closed: false,
    publish: write,
  } as unknown as Client;
}

/** How a hook called back, each time that it did. */
type Answered = { readonly said: unknown[][] };

/** Calls a hook, waits for its answer, and then whether it answers again. */
export async function ask(call: (done: (...outcome: unknown[]) => void) => void): Promise<Answered> {
  const said: unknown[][] = [];
  call((...outcome) => said.push(outcome));
  await expect.poll(() => said.length, { interval: 5 }).toBeGreaterThan(0);
  await later(50);
  return { said };
}

export const connectOf = (extra: object = {}) =>
  ({ clientId: 'its own', clean: false, keepalive: 60, ...extra }) as ConnectPacket;

export async function connected(hooks: Hooks, client = clientOf()): Promise<Client> {
  expect((await ask((done) => hooks.preConnect(client, connectOf(), done))).said).toEqual([[null, true]]);
  return client;
}

/** A request of the device SN. */
export const publication = (extra: object = {}) =>
  ({
    cmd: 'publish',
    topic: requestTopic('SN'),
    payload: Buffer.from(JSON.stringify({ token })),
    qos: 1,
    retain: false,
    dup: false,
    ...extra,
  }) as AedesPublishPacket & { payload: Buffer };
