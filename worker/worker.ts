import { problems } from '../protocol/problems.ts';
import type { ProvisioningRequest } from '../queue/provisioning-request.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { type Outcome, type RequestWorker, startRequestWorker } from '../queue/request-queue.ts';
import type { Log } from '../runtime/log.ts';
import { UpstreamThrottled } from '../runtime/upstream.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { acknowledge, type ProvisionContext, type Provisioned, provision, refuse } from './provision.ts';

/** How long the line waits after AWS said "too fast", in milliseconds. AWS's quotas are per second. */
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
  maxBackoffMs?: number;
}): RequestWorker {
  const { context, log, audit, ...queue } = options;
  return startRequestWorker({
    ...queue,
    log,
    handle: (request) => answer(request, context, { log, audit }),
    async acknowledge(acknowledgement) {
      const { serial, certificateId } = acknowledgement;
      if (await acknowledge(acknowledgement, context)) {
        log.info({ serial, certificateId }, 'delivered');
        audit.record('delivered', { serial, certificateId });
      } else log.warn({ serial, certificateId }, 'an acknowledgement does not fit the device; nothing was changed');
    },
  });
}

async function answer(
  request: ProvisioningRequest,
  context: ProvisionContext,
  { log, audit }: { log: Log; audit: Audit },
): Promise<Outcome> {
  const about = { serial: request.serial, requestId: request.requestId };
  try {
    if (context.now() - request.receivedAt > interestMs) {
      await refuse(request, problems.waitedTooLong, context);
      audit.record('refused', { ...about, errorCode: problems.waitedTooLong.code });
      log.info(
        { ...about, receivedAt: request.receivedAt },
        'a request waited for so long that nobody waits for it any more',
      );
      return 'answered';
    }
    const result = await provision(request, context);
    if (result.outcome === 'busy')
      return { again: Math.min(maxBusyMs, Math.max(minBusyMs, result.untilMs - context.now())) };
    record(audit, about, result);
    const waited = { ms: context.now() - request.receivedAt };
    if (result.outcome === 'accepted')
      log.info({ ...about, ...waited, certificateId: result.certificateId, again: result.again }, 'vended');
    else if (result.cause !== undefined)
      log.error({ ...about, err: result.cause, cure: result.cause.cure }, 'AWS refuses, and will until somebody acts');
    else {
      // another key with the right token: a firmware that makes a new one each time, or somebody else
      const level = result.problem.code === 'KeyMismatch' ? 'warn' : 'info';
      log[level]({ ...about, ...waited, errorCode: result.problem.code }, 'refused');
    }
    return 'answered';
  } catch (error) {
    if (!(error instanceof UpstreamThrottled)) throw error;
    log.debug({ ...about, err: error }, 'AWS says too fast; the line waits');
    return { slowDown: slowDownMs };
  }
}

/** What was decided. A question whose worker dies right here is decided, and recorded, again. */
function record(
  audit: Audit,
  about: { serial: string; requestId: string },
  result: Exclude<Provisioned, { outcome: 'busy' }>,
): void {
  if (result.outcome === 'accepted')
    audit.record(result.again ? 'repeated' : 'vended', { ...about, certificateId: result.certificateId });
  else audit.record('refused', { ...about, errorCode: result.problem.code });
}
