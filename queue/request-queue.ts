import { DelayedError, type Job, type JobsOptions, Queue, RateLimitError, Worker } from 'bullmq';
import { within } from '../runtime/deadline.ts';
import type { Log } from '../runtime/log.ts';
import {
  type Acknowledgement,
  type ProvisioningRequest,
  type RequestQueue,
  recipientIdOf,
  requestKeyOf,
} from './provisioning-request.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import {
  acknowledgementJob,
  fromStoredRequest,
  keyPrefix,
  queueName,
  requestJob,
  type StoredAcknowledgement,
  type StoredRequest,
  toStoredRequest,
} from './stored-forms.ts';

/** A worker that died is noticed after lockDuration + stalledInterval; BullMQ's defaults take a minute. Milliseconds. */
const lockDuration = 5000;
const stalledInterval = 2500;

/** Longest wait between two attempts at one question, in milliseconds. */
const usualMaxBackoffMs = 30_000;

/** Kept until it is done, however long AWS is away; nothing is kept of what is done, since answers wait elsewhere, sealed. */
const lasting: JobsOptions = {
  attempts: Number.MAX_SAFE_INTEGER,
  backoff: { type: 'custom' },
  removeOnComplete: true,
  removeOnFail: true,
};

/** The broker's end: `add` resolves when Redis has the question on its append-only file, and fails at once without Redis. */
export function createRequestQueue(connector: RedisConnector, log: Log): RequestQueue {
  const connection = connector.connect('answer-now', log);
  const queue = new Queue<StoredRequest | StoredAcknowledgement>(queueName, {
    connection,
    prefix: keyPrefix,
    // the check's INFO would be sent once; were Redis to go away just then, this queue would stay useless when it is back
    skipVersionCheck: true,
    // no part reads them
    streams: { events: { maxLen: 100 } },
  });
  queue.on('error', (err) => log.debug({ err }, 'queue'));
  return {
    // a question waits once, however often it is asked: the line does not grow while AWS is away, and who asks again
    // keeps its place. BullMQ forgets the id as soon as the question is answered.
    async add(request) {
      const job = await queue.add(requestJob, toStoredRequest(request), {
        jobId: request.requestId,
        deduplication: { id: requestKeyOf(request) },
        ...lasting,
      });
      return job.id ?? request.requestId;
    },
    async acknowledge(acknowledgement) {
      await queue.add(acknowledgementJob, acknowledgement, {
        deduplication: {
          id: `ack-${recipientIdOf(acknowledgement.serial, acknowledgement.tokenHash)}-${acknowledgement.certificateId}`,
        },
        ...lasting,
      });
    },
    async close() {
      await closed(connection.status === 'ready', queue.close(), log);
      await disconnectRedis(connection);
    },
  };
}

/** What became of a question. `again`: it goes back into the line. `slowDown`: the whole line waits. */
export type Outcome = 'answered' | { readonly again: number } | { readonly slowDown: number };

export type RequestWorker = {
  readonly name: string /** false when Redis cannot be reached */;
  alive(): Promise<boolean>;
  close(): Promise<void>;
};

/**
 * The worker's end: calls `handle` for each question until it is answered. A handler that throws is asked again, with
 * full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/) and for as long as it takes.
 * BullMQ delivers at least once: `handle` must bear being called twice.
 */
export function startRequestWorker(options: {
  redis: RedisConnector;
  concurrency: number;
  log: Log;
  handle(request: ProvisioningRequest): Promise<Outcome>;
  /** it, too, may be called twice */
  acknowledge(acknowledgement: Acknowledgement): Promise<void>;
  random?: () => number;
  /** between two attempts at one question, in milliseconds */
  maxBackoffMs?: number;
}): RequestWorker {
  const { redis, concurrency, log, handle, acknowledge, random = Math.random } = options;
  const { maxBackoffMs = usualMaxBackoffMs } = options;
  const connection = redis.connect('wait', log);
  const worker: Worker<StoredRequest | StoredAcknowledgement> = new Worker<StoredRequest | StoredAcknowledgement>(
    queueName,
    (job, lock) => run(job, lock),
    {
      connection,
      prefix: keyPrefix,
      concurrency,
      lockDuration,
      stalledInterval,
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      runRetryDelay: 1000,
      // no skipVersionCheck: BullMQ would take the server for Redis 5, which waits in whole seconds, and a request that is
      // to be tried again in 0.1 to 0.5 s would wait for 1.1 s
      settings: { backoffStrategy: (attempts) => random() * Math.min(maxBackoffMs, 500 * 2 ** Math.min(attempts, 10)) },
    },
  );
  // an outage is logged by the connection; an error that Redis answers with (a command it does not permit, no memory) is not
  let lastRefusal = '';
  worker.on('error', (err) => {
    const refused = err.name === 'ReplyError' && err.message !== lastRefusal;
    if (refused) lastRefusal = err.message;
    log[refused ? 'error' : 'debug']({ err }, 'the queue reports an error');
  });
  worker.on('failed', (job, err) =>
    log.warn({ serial: job?.data.serial, requestId: job?.id, err }, 'not answered yet; trying again'),
  );

  async function run(job: Job<StoredRequest | StoredAcknowledgement>, lock: string | undefined): Promise<void> {
    if (job.name === acknowledgementJob) return acknowledge(job.data as StoredAcknowledgement);
    const outcome = await handle(fromStoredRequest(job.data as StoredRequest));
    if (outcome === 'answered') return;
    if ('slowDown' in outcome) {
      await worker.rateLimit(outcome.slowDown);
      throw new RateLimitError();
    }
    await job.moveToDelayed(Date.now() + outcome.again, lock);
    throw new DelayedError();
  }

  return {
    name: 'worker',
    async alive() {
      return connection.status === 'ready' && (await connection.ping().catch(() => '')) === 'PONG';
    },
    async close() {
      await closed(connection.status === 'ready', worker.close(), log);
      await disconnectRedis(connection);
    },
  };
}

/** Questions under way have so long to end when we close, and Redis so long to answer when it is away. Milliseconds. */
const [closeMs, closeWithoutRedisMs] = [20_000, 1000];

/** BullMQ closes when its jobs have ended and Redis knows; without Redis it would wait for ever. */
async function closed(redisIsThere: boolean, closing: Promise<void>, log: Log): Promise<void> {
  await within(redisIsThere ? closeMs : closeWithoutRedisMs, 'closing the queue', closing).catch((err: unknown) =>
    log.warn({ err }, 'closing without Redis; what was under way is taken up again by another worker'),
  );
}
