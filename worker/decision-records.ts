import { type ErrorCode, problems, refusalOf } from '../protocol/problems.ts';
import type { Acknowledgement, AskedRegistration, ProvisioningRequest } from '../queue/provisioning-request.ts';
import { cureOf } from '../registry/row-faults.ts';
import { createFloodLimit, type FloodLimits } from '../runtime/flood-limit.ts';
import type { Log } from '../runtime/log.ts';
import { failedCall, UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { CallFault, Sightings } from '../telemetry/sightings.ts';
import type { AboutRequest, Provisioned } from './provision.ts';
import { createRefusedCalls } from './refused-calls.ts';
import type { Registered } from './register.ts';

/** A device with its one token may ask as often as its rate limit allows, day and night. Of all together there is no limit here: a
 * fleet whose tokens have expired has a line for each device. */
const limits: FloodLimits = { perSecond: 10, perDay: 100, perDayOfAll: Number.POSITIVE_INFINITY };

/** Of gateways that are not approved: a stranger who writes to Redis may make any number of them, and of serials. */
const unapprovedLimits: FloodLimits = { perSecond: 10, perDay: 1000, perDayOfAll: 5000 };

export type Decided = Exclude<Provisioned, { outcome: 'busy' }>;

export type DecisionRecords = ReturnType<typeof createDecisionRecords>;

/**
 * Writes each decision on a request, and each acknowledgement, into the audit trail and the log; of a device that asks again and again, a few one by one
 * and the rest by number. If the worker dies before, the request is decided and written down again.
 */
export function createDecisionRecords({
  audit,
  sightings,
  log,
  now,
  table,
}: {
  readonly audit: Audit;
  readonly sightings: Sightings;
  readonly log: Log;
  now(): number;
  /** the name of the table */
  readonly table: string;
}) {
  const refused = createFloodLimit<ErrorCode>(limits, (byCode, ofLastSeconds) =>
    audit.record('refused-flood', { byCode, ofLastSeconds }),
  );
  const repeated = createFloodLimit<'answers' | 'acknowledgements'>(limits, (beyond, ofLastSeconds) =>
    audit.record('repeated-flood', { ...beyond, ofLastSeconds }),
  );

  const unapproved = createFloodLimit<'requests'>(unapprovedLimits, ({ requests }, ofLastSeconds) =>
    log.warn({ requests, ofLastSeconds }, 'refused more requests of gateways that are not approved'),
  );

  const refusedCalls = createRefusedCalls(log);

  function accepted(request: ProvisioningRequest, certificateId: string, again: boolean): void {
    const { claim, requestId } = request;
    if (claim !== undefined) {
      audit.record('waiting', { claim, requestId, certificateId });
      log.info({ ...aboutOf(request), certificateId }, 'a certificate waits for its device');
      return;
    }
    const [about, event] = [{ ...aboutOf(request), certificateId }, again ? 'repeated' : 'vended'] as const;
    const fits = !again || repeated.fits(request.serial, 'answers');
    if (fits) audit.record(event, about);
    log[fits ? 'info' : 'debug']({ ...about, ms: now() - request.receivedAt }, event);
  }

  function rejected(request: ProvisioningRequest, decided: Extract<Decided, { outcome: 'rejected' }>): void {
    const { problem, cause, fault } = decided;
    const about = { ...aboutOf(request), errorCode: problem.code };
    const fits = refused.fits(request.serial, problem.code);
    if (fits) audit.record('refused', about);
    if (cause !== undefined) {
      refusedCalls.say(about, cause);
      return;
    }
    if (fault !== undefined) {
      const cure = cureOf(fault, request.serial, table);
      log[fits ? 'error' : 'debug']({ ...about, fault, cure }, "refused: the device's row must be mended first");
      return;
    }
    // another key with the right token: firmware that makes a new key each time, or another party that has the token
    const level = problem.code === 'KeyMismatch' ? 'warn' : 'info';
    const reason = problem.message;
    log[fits ? level : 'debug']({ ...about, reason, ms: now() - request.receivedAt }, 'refused');
  }

  function acknowledged({ serial, certificateId }: Acknowledgement, spent: boolean): void {
    sightings.note('own', serial, 'acknowledged', { certificateId, spent });
    const fits = repeated.fits(serial, 'acknowledgements');
    if (spent && fits) audit.record('delivered', { serial, certificateId });
    if (spent) log[fits ? 'info' : 'debug']({ serial, certificateId }, 'delivered');
    else log[fits ? 'warn' : 'debug']({ serial, certificateId }, acknowledgementIgnored);
  }

  /** Where the token is wrong, or was not looked at, nothing shows that it was the device: the broker that answers notes it. */
  function noteDecided(request: ProvisioningRequest, decision: Decided, calls: string): void {
    const { serial, requestId, claim } = request;
    if (claim !== undefined) return;
    if (decision.outcome === 'accepted') {
      sightings.note('own', serial, 'decided', { requestId, outcome: decision.again ? 'repeated' : 'vended' }, calls);
      return;
    }
    const { problem, cause } = decision;
    if (problem.code === 'InvalidToken' || problem.code === 'Throttled') return;
    const refused = { requestId, outcome: 'refused', ...refusalOf(problem), ...failedCall(cause) } as const;
    // a call to the table that AWS refuses comes before the token is judged
    const isJudged = refused.operation === undefined || !refused.operation.startsWith('dynamodb:');
    sightings.note(isJudged ? 'own' : 'unproven', serial, 'decided', refused, calls);
  }

  return {
    /** AWS did not do a call, which is tried again: at once, or when the request has its turn in the line again. Whether its token is right may not be known yet. */
    postponed({ serial, requestId, claim }: ProvisioningRequest, error: unknown): void {
      if (claim === undefined)
        sightings.note('unproven', serial, 'postponed', { requestId, ...failedCall(error), outcome: faultOf(error) });
    },
    /** @param calls what was called for it, as `followIssuer` says it */
    decided(request: ProvisioningRequest, decision: Decided, calls = ''): void {
      noteDecided(request, decision, calls);
      if (decision.outcome === 'rejected') rejected(request, decision);
      else accepted(request, decision.certificateId, decision.again);
    },
    /** AWS refuses a call without which there is not even an answer: the request is tried again. */
    unanswered(about: object, cause: UpstreamRefused): void {
      refusedCalls.say(about, cause);
    },
    /** Its answer has nothing secret. Log only: the audit trail has no room for what a stranger in Redis may claim. */
    ofUnapprovedGateway(request: ProvisioningRequest, gateway: string): void {
      const level = unapproved.fits(gateway, 'requests') ? 'info' : 'debug';
      const { code: errorCode, message: reason } = problems.gatewayNotApproved;
      log[level]({ ...aboutOf(request), gateway, errorCode, reason }, 'refused');
    },
    /** The device says that it has stored its certificate. `spent`: that took effect, now or before. */
    acknowledged,
    /** A registration by a template is an acknowledgement, or a refusal. */
    registered(message: Acknowledgement & { readonly registration: AskedRegistration }, outcome: Registered): void {
      if (outcome.outcome === 'registered') {
        const { claim, certificateId, registration } = message;
        const { serial } = outcome;
        const about = { serial, requestId: registration.requestId, certificateId };
        // the same registration comes again where its answer was lost: that writes it down again, within limits
        if (claim !== undefined && repeated.fits(serial, 'answers')) audit.record('vended', { ...about, claim });
        acknowledged({ ...message, serial }, true);
        return;
      }
      const { serial, registration } = message;
      const { problem, cause } = outcome;
      const { requestId, templateName: template } = registration;
      const about = { serial, requestId, errorCode: problem.code };
      const fits = refused.fits(serial, problem.code);
      if (fits) audit.record('refused', about);
      if (cause !== undefined) refusedCalls.say(about, cause);
      else log[fits ? 'info' : 'debug']({ ...about, template, reason: problem.message }, 'refused');
    },
    reopened(request: ProvisioningRequest, certificateId: string | undefined): void {
      const about = { ...aboutOf(request), ...(certificateId === undefined ? {} : { certificateId }) };
      audit.record('reopened', about);
      log.warn(about, 'the table has no reply for this device, which asks again: it gets another certificate');
    },
    otherWithdrawn(request: AboutRequest, certificateId: string): void {
      const about = { ...aboutOf(request), certificateId };
      audit.record('other-withdrawn', about);
      log.warn(
        about,
        'the device had a certificate that the table did not name, and it was deleted: was the table restored?',
      );
    },
    close(): void {
      refused.close();
      repeated.close();
      unapproved.close();
    },
  };
}

function faultOf(error: unknown): CallFault {
  if (error instanceof UpstreamThrottled) return 'throttled';
  if (error instanceof UpstreamUnreachable) return 'unreachable';
  return error instanceof UpstreamRefused ? 'refused' : 'failed';
}

const acknowledgementIgnored =
  'an acknowledgement was ignored: the device is not registered with this certificate and token';

export function aboutOf({ serial, requestId, remoteAddress }: AboutRequest) {
  return { serial, requestId, ...(remoteAddress === undefined ? {} : { remoteAddress }) };
}
