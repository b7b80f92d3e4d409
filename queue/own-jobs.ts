import { type Job, type JobJson, type JobsOptions, Worker } from 'bullmq';
import { traceOf } from '../runtime/tracing.ts';
import type { StoredAcknowledgement, StoredRequest } from './stored-forms.ts';
import { acknowledgementJob, requestJob } from './stored-keys.ts';

/**
 * A job stays until it is answered, however long AWS is away. Then BullMQ deletes it: the reply is stored elsewhere, sealed. Workers say it, and it is
 * not stored with a request: it would take a fifth of the memory of one that waits.
 */
export const untilAnswered: JobsOptions = {
  attempts: Number.MAX_SAFE_INTEGER,
  backoff: { type: 'custom' },
  removeOnComplete: true,
  removeOnFail: true,
  // it would be stored with each request that failed
  stackTraceLimit: 0,
};

export type Stored = StoredRequest | StoredAcknowledgement;

/**
 * Reads the message of a job from Redis, and ignores what Redis says about retries, delays and ids: a writer of Redis must not control these. Which trace it belongs to
 * counts only where this worker makes spans.
 */
export class OwnJobsWorker extends Worker<Stored> {
  protected override createJob(json: JobJson, jobId: string): Job<Stored> {
    const { name, data, timestamp, delay, priority, processedOn, attemptsMade, deduplicationId } = json;
    const taken = { data, timestamp, delay, priority, processedOn, deduplicationId };
    const trace = this.opts.telemetry === undefined ? undefined : traceOf(json.opts?.telemetry?.metadata);
    const opts = trace === undefined ? untilAnswered : { ...untilAnswered, telemetry: { metadata: trace } };
    const own = { name: ownName(name), opts, attemptsMade: Math.max(0, attemptsMade || 0) };
    return super.createJob({ ...taken, ...own, id: jobId } as JobJson, jobId);
  }
}

/** The name of a job that no part of ours makes: any text may be there, of any length. */
export const foreignJob = 'foreign';

const ownName = (name: string) => (name === requestJob || name === acknowledgementJob ? name : foreignJob);
