import { DelayedError, type Job, Queue, RateLimitError, WaitingError } from 'bullmq';
import type { Redis } from 'ioredis';
import { within } from '../runtime/deadline.ts';
import { createFloodLimit } from '../runtime/flood-limit.ts';
import type { Log } from '../runtime/log.ts';
import type { Tracing } from '../runtime/tracing.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import type { OwnGateway } from '../sealing/gateway.ts';
import { createBrokenJobDropper } from './broken-jobs.ts';
import type { LineState } from './line.ts';
import { reportToLine } from './line-reports.ts';
import { keepWaitsShort } from './longest-waits.ts';
import { createMalformedReport } from './malformed.ts';
import { foreignJob, OwnJobsWorker, type Stored, untilAnswered } from './own-jobs.ts';
import {
  type Acknowledgement,
  type AnsweredAs,
  type ProvisioningRequest,
  type RequestQueue,
  recipientIdOf,
  requestKeyOf,
  type SignedMessage,
  wantKeyOf,
} from './provisioning-request.ts';
import { createQueueErrorLog } from './queue-errors.ts';
import { deleteWrongQueueKeys } from './queue-keys.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { createLineKeeper } from './redis-line.ts';
import { createReplicatedWrites, type ReplicasToHave } from './replicas.ts';
import { createRetries, longestBackoffMs, placeKeptMs } from './retries.ts';
import {
  readRecipientId,
  readSerial,
  readStoredAcknowledgement,
  readStoredRequest,
  readWaiting,
  toStoredAcknowledgement,
  toStoredRequest,
} from './stored-forms.ts';
import { acknowledgementJob, jobKey, keyPrefix, queueName, requestJob } from './stored-keys.ts';
import { noteClockStep, waitedMs } from './waiting-time.ts';
import { afterHealing, isWrongType } from './wrong-type.ts';

/** The request of a killed worker is taken up after lockDuration + stalledInterval; with BullMQ's defaults, after a minute. Milliseconds. */
const lockDuration = 5000;
const stalledInterval = 2500;

/** Longest pause of the whole queue, in milliseconds. */
const maxPauseMs = 2000;

/** Failed attempts that the log names one by one; of the others it has the number, once a minute. */
const failuresInLog = { perSecond: 5, perDay: 5000, perDayOfAll: Number.POSITIVE_INFINITY };

/** `clockSet` is called when the wall clock was set. `byMs`: milliseconds; negative when it was set back. */
type FollowsClock = { clockSet(byMs: number): void };

/** 132 bits of the recipient. Earlier versions had a job for each key that a device asked for; where their jobs still wait, an equal request has a second one. */
const placeOf = ({ serial, tokenHash }: ProvisioningRequest) => `one-${recipientIdOf(serial, tokenHash).slice(0, 22)}`;

/**
 * The broker's side: `add` resolves when Redis has the request on its append-only file, and fails at once without Redis.
 * @param gateway signs what is stored
 * @param replicas that must have it as well before anything resolves
 */
export function createRequestQueue(
  connector: RedisConnector,
  log: Log,
  gateway: OwnGateway,
  replicas?: ReplicasToHave,
  tracing?: Pick<Tracing, 'queue'>,
): RequestQueue & FollowsClock {
  const connection = connector.connect('answer-now', log);
  const queue = new Queue<Stored>(queueName, {
    connection,
    prefix: keyPrefix,
    // BullMQ would send the INFO of the check once; if Redis went away during it, this queue would fail for ever
    skipVersionCheck: true,
    // no part reads them
    streams: { events: { maxLen: 100 } },
    ...(tracing === undefined ? {} : { telemetry: tracing.queue }),
  });
  queue.on('error', (err) => log.debug({ err }, 'queue'));
  const replicated = createReplicatedWrites(connection, replicas);
  const reportMalformed = createMalformedReport(log);

  /** Takes back what is left of a job that is in no list. */
  async function forget(id: string, requestKey: string): Promise<void> {
    await queue.removeDeduplicationKey(requestKey);
    await connection.del(jobKey(id));
  }

  async function storedAs(request: ProvisioningRequest): Promise<string> {
    const { requestId: jobId } = request;
    const deduplication = { id: placeOf(request) };
    const job = await afterHealing(
      () => queue.add(requestJob, toStoredRequest(request, gateway), { jobId, deduplication }),
      async () => {
        await deleteWrongQueueKeys(connection, reportMalformed);
        // the script that failed may have written the half of it
        await forget(jobId, deduplication.id);
      },
    );
    return job.id ?? jobId;
  }

  // a device has one job: the queue does not grow while AWS is away, and a device that asks again keeps its place, but does not
  // get another one for each key that it makes. BullMQ forgets the deduplication id as soon as the job is answered.
  async function add(request: ProvisioningRequest): Promise<AnsweredAs | undefined> {
    const requestKey = requestKeyOf(request);
    const id = await storedAs(request);
    if (id === request.requestId) return { requestId: id, requestKey };
    const [state, earlier] = await Promise.all([queue.getJobState(id), connection.hget(jobKey(id), 'data')]);
    // a Redis that lost a part of its data may know the earlier request, and have it in no list
    if (state === 'unknown' || earlier === null) {
      await forget(id, placeOf(request));
      return { requestId: await storedAs(request), requestKey };
    }
    const waits = readWaiting(earlier);
    const isSame = waits?.requestKey === requestKey || waits?.wantKey === wantKeyOf(request);
    return waits !== undefined && isSame ? { requestId: id, requestKey: waits.requestKey } : undefined;
  }

  async function acknowledge(acknowledgement: Acknowledgement): Promise<void> {
    const { serial, tokenHash, certificateId, registration } = acknowledgement;
    const about = `ack-${recipientIdOf(serial, tokenHash)}-${certificateId}`;
    // each registration has an answer of its own
    const once = { id: registration === undefined ? about : `${about}-${registration.requestId}` };
    // it comes first: it needs nothing of the quotas that the line waits for, and a token that was acknowledged must end now, not when the line does
    const order = { ...untilAnswered, lifo: true };
    const stored = toStoredAcknowledgement(acknowledgement, gateway);
    await afterHealing(
      // with the orders: a worker of 0.1.0 takes them from the job
      () => queue.add(acknowledgementJob, stored, { deduplication: once, ...order }),
      async () => {
        await deleteWrongQueueKeys(connection, reportMalformed);
        await queue.removeDeduplicationKey(once.id);
      },
    );
  }

  return {
    add: (request) => replicated(() => add(request)),
    acknowledge: (acknowledgement) => replicated(() => acknowledge(acknowledgement)),
    clockSet: (byMs) => noteStep(connection, byMs, log),
    async close() {
      await closeInTime(await isThere(connection), queue.close(), log);
      await disconnectRedis(connection);
    },
  };
}

/**
 * `again`: milliseconds until the request is tried again, at most 30,000. `slowDown`: milliseconds for which the whole queue waits, at
 * most 2000. `untouched`: it keeps its place, the first, for another worker: this one is about to close.
 */
export type Outcome = 'answered' | 'untouched' | { readonly again: number } | { readonly slowDown: number };

export type RequestWorker = FollowsClock & {
  readonly name: string;
  /** false when Redis cannot be reached */
  alive(): Promise<boolean>;
  close(): Promise<void>;
};

/**
 * The worker's side: calls `handle` for each request until it is answered. When `handle` throws, the request is tried again
 * with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), without end, in its place (`retries.ts`). BullMQ delivers
 * at least once, so `handle` and `acknowledge` may be called twice for the same job.
 */
export function startRequestWorker(options: {
  redis: RedisConnector;
  concurrency: number;
  log: Log;
  /** @param waitedMs how long the request has waited, at least; a step of the clock makes it no longer */
  handle(request: SignedMessage<ProvisioningRequest>, waitedMs: number): Promise<Outcome>;
  acknowledge(acknowledgement: SignedMessage<Acknowledgement>): Promise<void>;
  /** notices a step of the clock at once, and then calls `clockSet` */
  lookAtClock?: () => void;
  random?: () => number;
  /** called once a second with how many wait, and for how long */
  onLine?: (state: LineState) => void;
  /** longest wait between two attempts at one request, in milliseconds */
  maxBackoffMs?: number;
  /** absent where traces are off */
  tracing?: Pick<Tracing, 'queue'> | undefined;
}): RequestWorker {
  const { redis, concurrency, log, handle, acknowledge, random = Math.random } = options;
  const { maxBackoffMs = longestBackoffMs, lookAtClock = () => {}, onLine: onState = () => {} } = options;
  const connection = redis.connect('wait', log);
  const reportMalformed = createMalformedReport(log);
  const dropBroken = createBrokenJobDropper(connection, reportMalformed);
  const worker: OwnJobsWorker = new OwnJobsWorker(queueName, (job, lock) => run(job, lock), {
    connection,
    prefix: keyPrefix,
    concurrency,
    lockDuration,
    stalledInterval,
    maxStalledCount: Number.MAX_SAFE_INTEGER,
    // the worker waits for the end of a pause by its clock, which may be set back meanwhile
    maximumRateLimitDelay: maxPauseMs,
    runRetryDelay: 1000,
    ...(options.tracing === undefined ? {} : { telemetry: options.tracing.queue }),
    // BullMQ looks at the pause that `rateLimit` makes only where a limit is set: this one is never reached
    limiter: { max: 1_000_000, duration: 1000 },
    // no skipVersionCheck: BullMQ would take the server for Redis 5, which waits in whole seconds, and a request that is
    // to be tried again in 0.1 to 0.5 s would wait for 1.1 s
    settings: {
      backoffStrategy: (attempts, _type, _error, job) => retries.afterFailure(job?.id ?? '', job ?? {}, attempts),
    },
  });
  const errors = createQueueErrorLog(log);
  worker.on('error', (err) => {
    if (isWrongType(err))
      deleteWrongQueueKeys(connection, reportMalformed).catch((error: unknown) =>
        log.debug({ err: error }, 'a key of another type could not be deleted'),
      );
    if (err instanceof SyntaxError)
      dropBroken().catch((error: unknown) => log.debug({ err: error }, 'a broken job could not be dropped'));
    errors.failed(err);
  });
  const failures = createFloodLimit<'failed'>(failuresInLog, ({ failed }) =>
    log.warn({ failed }, 'more jobs failed in the last minute; trying again'),
  );
  worker.on('failed', (job, err) => {
    // the worker has said it with its cure, once for all jobs that it concerns
    if (err instanceof UpstreamRefused) return;
    if (!failures.fits('', 'failed')) return;
    const about = { job: job?.name, serial: readSerial(job?.data), requestId: job?.id?.slice(0, 64) };
    log.warn({ ...about, err }, 'a job failed; trying again');
  });

  const line = reportToLine({ line: createLineKeeper(redis, log, random), log, onState });
  worker.on('completed', ({ id: requestId = '', data }) => {
    errors.worked();
    const recipientId = readRecipientId(data);
    if (recipientId === undefined) return;
    retries.answered(requestId);
    line.answered({ requestId, recipientId });
  });
  const retries = createRetries({
    redis: connection,
    log,
    reportMalformed,
    random,
    maxBackoffMs,
    placeLost: (id) => line.lostPlace(id),
  });

  const waits = keepWaitsShort({
    redis: connection,
    queue: worker,
    // the clocks of two workers may differ by as much as the longest delay
    longest: {
      delayMs: 2 * longestBackoffMs + placeKeptMs,
      pauseMs: maxPauseMs,
      lockMs: lockDuration,
      stalledMs: stalledInterval,
    },
    log,
  });

  async function run(job: Job<Stored>, lock: string | undefined): Promise<void> {
    retries.began(job);
    if (job.name === foreignJob) return reportMalformed('a job of another kind');
    if (job.name === acknowledgementJob) {
      const acknowledgement = readStoredAcknowledgement(job.data);
      return acknowledgement === undefined ? reportMalformed('an acknowledgement') : acknowledge(acknowledgement);
    }
    const request = readStoredRequest(job.data, job.id ?? '');
    if (request === undefined) return reportMalformed('a request');
    // a writer of Redis put the id into the data (as 0.1.0 did) of a job with another id: the signature holds, and two jobs with one
    // request would be worked on at once, and overtake each other
    if (request.gateway !== undefined && job.id !== request.message.requestId)
      return reportMalformed('a copy of a request');
    const waited = await waitedMs(connection, request.message.receivedAt, Date.now(), lookAtClock, reportMalformed);
    const outcome = await handle(request, waited);
    if (outcome === 'answered') return;
    if (outcome === 'untouched') {
      await job.moveToWait(lock);
      throw new WaitingError();
    }
    if ('slowDown' in outcome) {
      await worker.rateLimit(Math.min(outcome.slowDown, maxPauseMs));
      throw new RateLimitError();
    }
    await job.moveToDelayed(Date.now() + retries.keepPlace(outcome.again), lock);
    throw new DelayedError();
  }

  return {
    name: 'worker',
    clockSet: (byMs) => noteStep(connection, byMs, log),
    async alive() {
      return connection.status === 'ready' && (await connection.ping().catch(() => '')) === 'PONG';
    },
    async close() {
      await Promise.all([waits.close(), retries.close()]);
      failures.close();
      await closeInTime(await isThere(connection), worker.close(), log);
      await line.close();
      await disconnectRedis(connection);
    },
  };
}

function noteStep(connection: Redis, byMs: number, log: Log): void {
  noteClockStep(connection, byMs, Date.now()).catch((err: unknown) =>
    log.debug({ err }, 'a step of the clock could not be written down'),
  );
}

/**
 * Time limits for closing: for requests that are being answered, and without Redis. Milliseconds. Both are over before Docker kills a container
 * that it stops, after 10 s. A request that is cut off is answered by another worker.
 */
const [closeMs, closeWithoutRedisMs] = [7000, 1000];

/** Also false for a server that is there, and does not answer. */
async function isThere(redis: Redis): Promise<boolean> {
  return (
    redis.status === 'ready' && (await within(closeWithoutRedisMs, 'PING', redis.ping()).catch(() => '')) === 'PONG'
  );
}

/** BullMQ waits until its jobs have ended and Redis has stored that; without Redis it would wait for ever. */
async function closeInTime(redisIsThere: boolean, closing: Promise<void>, log: Log): Promise<void> {
  await within(redisIsThere ? closeMs : closeWithoutRedisMs, 'closing the queue', closing).catch((err: unknown) =>
    log.warn({ err }, 'closing without waiting any longer; another worker takes up the requests that are not answered'),
  );
}
