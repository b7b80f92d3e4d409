import { problems } from '../protocol/problems.ts';
import type { ProvisioningRequest } from '../queue/provisioning-request.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { type Outcome, type RequestWorker, startRequestWorker } from '../queue/request-queue.ts';
import type { Log } from '../runtime/log.ts';
import { UpstreamThrottled } from '../runtime/upstream.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { acknowledge, type ProvisionContext, type Provisioned, provision, refuse } from './provision.ts';

/** How long all requests wait after AWS has throttled a call, in milliseconds. AWS's quotas are per second. */
const slowDownMs = 1000;

/** A request that is older is told to be asked again: its device asks anew, or is gone. Milliseconds. */
const interestMs = 24 * 3_600_000;

/** Shortest and longest wait for another attempt of the same device, in milliseconds. Most end long before their lease. */
const [minBusyMs, maxBusyMs] = [100, 500];

/** Takes questions from the queue and provisions, until closed. */
export function startWorker(options: {
  redis: RedisConnector;
  concurrency: number;
  context: ProvisionContext;
  log: Log;
  audit: Audit;
  metrics: WorkerMetrics;
  maxBackoffMs?: number;
}): RequestWorker {
  const { context, log, audit, metrics, ...queue } = options;
  return startRequestWorker({
    ...queue,
    log,
    handle: (request) => answer(request, context, { log, audit, metrics }),
    async acknowledge(acknowledgement) {
      const { serial, certificateId } = acknowledgement;
      if (await acknowledge(acknowledgement, context)) {
        log.info({ serial, certificateId }, 'delivered');
        audit.record('delivered', { serial, certificateId });
      } else log.warn({ serial, certificateId }, 'an acknowledgement does not fit the device; nothing was changed');
    },
  });
}

type WorkerMetrics = Pick<Metrics, 'requests' | 'requestSeconds'>;
/** Where a worker says what it did. */
type Reporting = { readonly log: Log; readonly audit: Audit; readonly metrics: WorkerMetrics };

async function answer(request: ProvisioningRequest, context: ProvisionContext, to: Reporting): Promise<Outcome> {
  const { log, metrics } = to;
  try {
    const waitedMs = context.now() - request.receivedAt;
    if (waitedMs > interestMs) return await refuseExpired(request, context, to);
    const result = await provision(request, context);
    if (result.outcome === 'busy') {
      metrics.requests.inc({ outcome: 'busy' });
      return { again: Math.min(maxBusyMs, Math.max(minBusyMs, result.untilMs - context.now())) };
    }
    report(request, result, context.now() - request.receivedAt, to);
    return 'answered';
  } catch (error) {
    const throttled = error instanceof UpstreamThrottled;
    metrics.requests.inc({ outcome: throttled ? 'throttled' : 'failed' });
    if (!throttled) throw error;
    log.debug({ ...idsOf(request), err: error }, 'AWS throttles; all requests wait');
    return { slowDown: slowDownMs };
  }
}

async function refuseExpired(
  request: ProvisioningRequest,
  context: ProvisionContext,
  { log, audit, metrics }: Reporting,
): Promise<Outcome> {
  const about = idsOf(request);
  await refuse(request, problems.waitedTooLong, context);
  audit.record('refused', { ...about, errorCode: problems.waitedTooLong.code });
  metrics.requests.inc({ outcome: 'expired' });
  log.info({ ...about, receivedAt: request.receivedAt }, 'a request waited for more than a day and was refused');
  return 'answered';
}

/** Says what was decided. A worker that dies right here leaves the request to another, which decides and reports again. */
function report(
  request: ProvisioningRequest,
  result: Exclude<Provisioned, { outcome: 'busy' }>,
  ms: number,
  { log, audit, metrics }: Reporting,
): void {
  const about = idsOf(request);
  const outcome = result.outcome === 'rejected' ? 'refused' : result.again ? 'repeated' : 'vended';
  metrics.requests.inc({ outcome });
  metrics.requestSeconds.observe(ms / 1000, { outcome });
  if (result.outcome === 'accepted') {
    const { certificateId, again } = result;
    audit.record(again ? 'repeated' : 'vended', { ...about, certificateId });
    log.info({ ...about, ms, certificateId, again }, 'vended');
    return;
  }
  const errorCode = result.problem.code;
  audit.record('refused', { ...about, errorCode });
  if (result.cause !== undefined) {
    log.error({ ...about, err: result.cause, cure: result.cause.cure }, 'AWS refuses, and will until somebody acts');
    return;
  }
  // another key with the right token: firmware that makes a new key each time, or an attacker
  log[errorCode === 'KeyMismatch' ? 'warn' : 'info']({ ...about, ms, errorCode }, 'refused');
}

const idsOf = ({ serial, requestId }: ProvisioningRequest) => ({ serial, requestId });
