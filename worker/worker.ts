import { problems } from '../protocol/problems.ts';
import type { ProvisioningRequest } from '../queue/provisioning-request.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { type Outcome, type RequestWorker, startRequestWorker } from '../queue/request-queue.ts';
import type { Log } from '../runtime/log.ts';
import { UpstreamThrottled } from '../runtime/upstream.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { acknowledge, reject } from './answers.ts';
import { type ProvisionContext, type Provisioned, provision } from './provision.ts';

/** How long all requests wait after AWS has throttled a call, in milliseconds. AWS's quotas are per second. */
const slowDownMs = 1000;

/** An older request is refused, so that requests of devices that have gone do not stay for ever. A device that is still there asks
 * again. Milliseconds. */
const maxAgeMs = 24 * 3_600_000;

/** Shortest and longest wait for another attempt of the same device, in milliseconds. Most end long before their lease. */
const [minBusyMs, maxBusyMs] = [100, 500];

type WorkerMetrics = Pick<Metrics, 'requests' | 'requestSeconds'>;
type Records = { readonly log: Log; readonly audit: Audit; readonly metrics: WorkerMetrics };

/** Takes requests from the queue and provisions, until closed. */
export function startWorker(
  options: Records & {
    readonly redis: RedisConnector;
    readonly concurrency: number;
    readonly context: ProvisionContext;
    readonly maxBackoffMs?: number;
  },
): RequestWorker {
  const { context, audit, metrics, ...queue } = options;
  const records = { log: queue.log, audit, metrics };
  return startRequestWorker({
    ...queue,
    handle: (request) => handle(request, context, records),
    async acknowledge(acknowledgement) {
      const { serial, certificateId } = acknowledgement;
      if (await acknowledge(acknowledgement, context)) {
        records.log.info({ serial, certificateId }, 'delivered');
        audit.record('delivered', { serial, certificateId });
      } else
        records.log.warn(
          { serial, certificateId },
          'an acknowledgement was ignored: the device is not registered with this certificate and token',
        );
    },
  });
}

/** A refusal completes the request. An exception puts it back into the queue. */
async function handle(request: ProvisioningRequest, context: ProvisionContext, records: Records): Promise<Outcome> {
  const { log, metrics } = records;
  try {
    const expired = context.now() - request.receivedAt > maxAgeMs;
    const result = expired ? await reject(request, problems.waitedTooLong, context) : await provision(request, context);
    if (result.outcome === 'busy') {
      metrics.requests.inc({ outcome: 'busy' });
      return { again: Math.min(maxBusyMs, Math.max(minBusyMs, result.untilMs - context.now())) };
    }
    metrics.requests.inc({ outcome: expired ? 'expired' : outcomeOf(result) });
    if (!expired)
      metrics.requestSeconds.observe((context.now() - request.receivedAt) / 1000, { outcome: outcomeOf(result) });
    record(request, result, context.now(), records);
    return 'answered';
  } catch (error) {
    const throttled = error instanceof UpstreamThrottled;
    metrics.requests.inc({ outcome: throttled ? 'throttled' : 'failed' });
    if (!throttled) throw error;
    log.debug({ ...aboutOf(request), err: error }, 'AWS throttles; all requests wait');
    return { slowDown: slowDownMs };
  }
}

type Decided = Exclude<Provisioned, { outcome: 'busy' }>;

function outcomeOf(result: Decided) {
  if (result.outcome === 'rejected') return 'refused';
  return result.again ? 'repeated' : 'vended';
}

/** Writes a decision into the audit trail and the log. If the worker dies before, the request is decided and written again. */
function record(request: ProvisioningRequest, result: Decided, now: number, { log, audit }: Records): void {
  const about = aboutOf(request);
  const ms = now - request.receivedAt;
  if (result.outcome === 'accepted') {
    const { certificateId, again } = result;
    audit.record(again ? 'repeated' : 'vended', { ...about, certificateId });
    log.info({ ...about, ms, certificateId }, again ? 'repeated' : 'vended');
    return;
  }
  const { problem, cause } = result;
  audit.record('refused', { ...about, errorCode: problem.code });
  if (cause !== undefined) {
    log.error({ ...about, err: cause, cure: cause.cure }, 'AWS refuses, until the cure is applied');
    return;
  }
  // another key with the right token: firmware that makes a new key each time, or another party that has the token
  const level = problem.code === 'KeyMismatch' ? 'warn' : 'info';
  log[level]({ ...about, ms, errorCode: problem.code }, 'refused');
}

function aboutOf({ serial, requestId }: ProvisioningRequest) {
  return { serial, requestId };
}
