import { type KeyOrigin, vendingCalls } from '../issuer/vending-calls.ts';
import { type Problem, problems } from '../protocol/problems.ts';
import { createMalformedReport, type ReportMalformed } from '../queue/malformed.ts';
import {
  type Acknowledgement,
  type ProvisioningRequest,
  recipientIdOf,
  registrationKeyOf,
  requestKeyOf,
  type SignedMessage,
} from '../queue/provisioning-request.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { type BoundReplyStore, boundTo } from '../queue/replies.ts';
import { type Outcome, type RequestWorker, startRequestWorker } from '../queue/request-queue.ts';
import type { Log } from '../runtime/log.ts';
import type { Tracing } from '../runtime/tracing.ts';
import { UpstreamRefused, UpstreamThrottled } from '../runtime/upstream.ts';
import type { GatewayIdentity } from '../sealing/gateway.ts';
import { UnusableKey } from '../sealing/hpke.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Sightings } from '../telemetry/sightings.ts';
import { type Admission, nothingToCall } from './admission.ts';
import { reject } from './answers.ts';
import { aboutOf, createDecisionRecords, type Decided, type DecisionRecords } from './decision-records.ts';
import { followIssuer } from './followed-issuer.ts';
import type { GatewayRegister } from './gateway-register.ts';
import { createLineLog } from './line-log.ts';
import { type ProvisionContext, type Provisioned, provision } from './provision.ts';
import { type RegisterContext, register } from './register.ts';
import { makeWaiting, type WaitingContext } from './waiting-certificate.ts';

type SharedContext = Omit<ProvisionContext, 'replies'> &
  Pick<WaitingContext, 'claims' | 'makeId'> &
  Pick<RegisterContext, 'templates'> & { readonly replies: Pick<BoundReplyStore, 'deliver'> };

/** What a worker is built with; the notices go to its records. */
export type WorkerContext = Omit<SharedContext, 'notices'>;

/** How long all requests wait after AWS has throttled a call again and again, or one to the table, in milliseconds. */
const slowDownMs = 1000;

/** An older request is refused, so that requests of devices that have gone do not stay for ever. A device that is still there asks
 * again. Milliseconds. */
const maxAgeMs = 24 * 3_600_000;

/** Shortest and longest wait for another attempt of the same device, in milliseconds. Most end long before their lease. */
const [minBusyMs, maxBusyMs] = [100, 500];

type WorkerMetrics = Pick<Metrics, 'requests' | 'requestSeconds' | 'lineLength' | 'lineOldestSeconds'>;
type InLine = { readonly admission: Admission; readonly closing: AbortSignal };
type Records = { readonly log: Log; readonly decisions: DecisionRecords; readonly metrics: WorkerMetrics };
type LearnTime = () => Promise<void>;
type Trust = {
  readonly gateways: Pick<GatewayRegister, 'isApproved'>;
  readonly learnTime: LearnTime;
  readonly reportForged: ReportMalformed;
};

/** Takes requests from the queue and provisions, until closed. */
export function startWorker(options: {
  readonly log: Log;
  readonly audit: Audit;
  readonly sightings: Sightings;
  readonly metrics: WorkerMetrics;
  readonly redis: RedisConnector;
  readonly concurrency: number;
  /** the name of the table */
  readonly table: string;
  readonly context: WorkerContext;
  readonly admission: Admission;
  readonly gateways: Trust['gateways'];
  /** Makes sure that `context.now` is the time of AWS. Called before each request */
  readonly learnTime: LearnTime;
  /** notices a step of the clock at once, and then calls `clockSet` of this worker */
  readonly lookAtClock: () => void;
  readonly maxBackoffMs?: number;
  /** absent where traces are off */
  readonly tracing?: Tracing | undefined;
}): RequestWorker {
  const { audit, sightings, metrics, learnTime, context: parts, gateways, table, admission, ...queue } = options;
  const { log } = queue;
  const decisions = createDecisionRecords({ audit, sightings, log, now: parts.now, table });
  const context: SharedContext = { ...parts, notices: decisions };
  const records = { log, decisions, metrics };
  const trust = { gateways, learnTime, reportForged: createMalformedReport(log) };
  let line = { length: 0, oldestSeconds: 0 };
  const lineLog = createLineLog(log);
  metrics.lineLength.readFrom(() => line.length);
  metrics.lineOldestSeconds.readFrom(() => line.oldestSeconds);
  const closing = new AbortController();
  const inLine = { admission, closing: closing.signal };
  const worker = startRequestWorker({
    ...queue,
    onLine(state) {
      line = state;
      lineLog.look(state);
    },
    handle: async (signed, waitedMs) => {
      const outcome = await sayingRefusals(
        aboutOf(signed.message),
        decisions,
        handleSigned(signed, waitedMs, context, trust, records, inLine),
      );
      if (outcome === 'answered') lineLog.answered();
      return outcome;
    },
    acknowledge: (signed) =>
      sayingRefusals(
        { serial: signed.message.serial },
        decisions,
        acknowledgeSigned(signed, context, trust, decisions),
      ),
  });
  return {
    ...worker,
    async close() {
      const closed = worker.close();
      // requests that wait for their turn are left to other workers
      closing.abort();
      await closed;
      decisions.close();
    },
  };
}

/** A refusal that is thrown makes the queue try again, which alone would hide the cure. */
async function sayingRefusals<T>(about: object, decisions: DecisionRecords, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof UpstreamRefused) decisions.unanswered(about, error);
    throw error;
  }
}

/**
 * Checks a request before anything else uses it, since Redis is not trusted: it must not invent requests, nor choose who can read an answer.
 * A request that no gateway signed ends here without an answer. So does one with a reply key that no answer can be sealed to.
 */
async function handleSigned(
  { message: request, gateway }: SignedMessage<ProvisioningRequest>,
  waitedMs: number,
  shared: SharedContext,
  trust: Trust,
  records: Records,
  inLine: InLine,
): Promise<Outcome> {
  const { requests } = records.metrics;
  if (gateway === undefined) {
    requests.inc({ outcome: 'forged' });
    trust.reportForged('a request that no gateway signed');
    return 'answered';
  }
  const requestKey = requestKeyOf(request);
  // any gateway can ask in the name of any device: what is answered before it counts as approved reaches its own devices only
  const toItsDevices = boundTo(shared.replies, { requestKey, onlyGateway: gateway.id });
  const refuse = (problem: Problem) => reject(request, problem, { ...shared, replies: toItsDevices });
  try {
    await trust.learnTime();
    // when the clock of this machine is ahead, every request looks old by it
    const ageMs = Math.min(waitedMs, Math.max(0, shared.now() - request.receivedAt));
    if (await isApproved(gateway, request, ageMs, trust))
      return await handle(
        request,
        ageMs,
        { ...shared, replies: boundTo(shared.replies, { requestKey }) },
        records,
        inLine,
      );
    requests.inc({ outcome: 'not_approved' });
    await refuse(problems.gatewayNotApproved);
    records.decisions.ofUnapprovedGateway(request, gateway.id);
  } catch (error) {
    if (error instanceof UnusableKey) trust.reportForged('a request with a reply key that no answer can be sealed to');
    else if (error instanceof UpstreamRefused) {
      // not even the table tells which gateways are approved
      records.decisions.decided(request, { ...(await refuse(problems.upstreamRefuses)), cause: error });
      requests.inc({ outcome: 'refused' });
    } else throw error;
  }
  return 'answered';
}

/** A request that is too old ends also when the table does not tell whether its gateway is approved: it is refused in any case. */
async function isApproved(
  gateway: GatewayIdentity,
  { receivedAt }: ProvisioningRequest,
  waitedMs: number,
  { gateways }: Trust,
): Promise<boolean> {
  const asked = gateways.isApproved(gateway, receivedAt);
  return waitedMs > maxAgeMs ? asked.catch(() => false) : asked;
}

async function acknowledgeSigned(
  { message, gateway }: SignedMessage<Acknowledgement>,
  context: SharedContext,
  { gateways, reportForged }: Trust,
  decisions: DecisionRecords,
): Promise<void> {
  const { registry, now, site } = context;
  if (gateway === undefined) return reportForged('an acknowledgement that no gateway signed');
  if (!(await gateways.isApproved(gateway, now())))
    return reportForged('an acknowledgement of a gateway that is not approved');
  const { serial, tokenHash, certificateId, registration } = message;
  if (registration !== undefined) {
    const replies = boundTo(context.replies, { requestKey: registrationKeyOf(registration.requestId) });
    const asked = { ...message, registration };
    try {
      decisions.registered(asked, await register(asked, { ...context, replies }));
    } catch (error) {
      if (!(error instanceof UnusableKey)) throw error;
      reportForged('a registration with a reply key that no answer can be sealed to');
    }
    return;
  }
  const spent = await registry.acknowledge(serial, tokenHash, certificateId, now(), site);
  decisions.acknowledged(message, spent);
}

const whyExpired = ({ maxWaitMs }: ProvisioningRequest): Problem =>
  maxWaitMs === undefined ? problems.waitedTooLong : problems.expired;

/** For a device; or for a claim certificate, before its device is known. */
function vend(request: ProvisioningRequest, context: ProvisionContext & WaitingContext): Promise<Provisioned> {
  const { claim } = request;
  return claim === undefined ? provision(request, context) : makeWaiting({ ...request, claim }, context);
}

/** A refusal completes the request. An exception puts it back into the queue. */
async function handle(
  request: ProvisioningRequest,
  waitedMs: number,
  context: ProvisionContext & WaitingContext,
  records: Records,
  { admission, closing }: InLine,
): Promise<Outcome> {
  const { log, metrics } = records;
  const began = performance.now();
  const isOver = () => waitedMs + performance.now() - began > Math.min(maxAgeMs, request.maxWaitMs ?? maxAgeMs);
  const isOverBefore = isOver();
  const takesNoTurn = isOverBefore || (await isRefusedInAnyCase(request, context));
  const permit = takesNoTurn ? nothingToCall : await admission.admit(recipientOf(request), callsOf(request), closing);
  if (permit === undefined) return 'untouched';
  // `cvm explain` can then say why it takes so long, while the worker still tries
  const { issuer, text } = followIssuer(context.issuer, (error) => records.decisions.postponed(request, error));
  try {
    const expired = isOverBefore || isOver();
    const result = expired
      ? await reject(request, whyExpired(request), context)
      : await vend(request, { ...context, issuer });
    if (result.outcome === 'busy') {
      metrics.requests.inc({ outcome: 'busy' });
      return { again: Math.min(maxBusyMs, Math.max(minBusyMs, result.untilMs - context.now())) };
    }
    metrics.requests.inc({ outcome: expired ? 'expired' : outcomeOf(result) });
    const tookMs = waitedMs + performance.now() - began;
    if (!expired) metrics.requestSeconds.observe(tookMs / 1000, { outcome: outcomeOf(result) });
    records.decisions.decided(request, result, text());
    return 'answered';
  } catch (error) {
    const throttled = error instanceof UpstreamThrottled;
    metrics.requests.inc({ outcome: throttled ? 'throttled' : 'failed' });
    records.decisions.postponed(request, error);
    if (!throttled) throw error;
    log.debug({ ...aboutOf(request), err: error }, 'AWS throttles; all requests wait');
    return { slowDown: slowDownMs };
  } finally {
    await permit.end();
  }
}

/**
 * A holder of a claim certificate makes as many requests as it has connections, and what AWS would be asked for is little: those that are
 * refused take no turn, so that devices do not wait for them. It is judged again where it counts.
 */
async function isRefusedInAnyCase(
  { claim }: ProvisioningRequest,
  { claims, now }: Pick<WaitingContext, 'claims' | 'now'>,
): Promise<boolean> {
  if (claim === undefined) return false;
  const refusal = await claims.whyNoneMore(claim, now()).catch(() => undefined);
  return refusal !== undefined;
}

const recipientOf = ({ serial, tokenHash }: ProvisioningRequest) => recipientIdOf(serial, tokenHash);

/** The row tells later whether there is a group to join. */
function callsOf({ csrPem, key }: ProvisioningRequest) {
  const origin: KeyOrigin = csrPem === undefined ? key : 'csr';
  return vendingCalls(origin, { group: false });
}

function outcomeOf(result: Decided) {
  if (result.outcome === 'rejected') return 'refused';
  return result.again ? 'repeated' : 'vended';
}
