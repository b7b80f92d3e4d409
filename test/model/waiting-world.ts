import { block, remove } from '../../operator/decisions.ts';
import { isSerial } from '../../protocol/serial.ts';
import { hashToken } from '../../protocol/token.ts';
import { claimName, type ProvisioningRequest } from '../../queue/provisioning-request.ts';
import { unlimitedWrongTokens } from '../../queue/token-attempts.ts';
import { type ClaimCertificates, waitingMs } from '../../registry/claim-certificates.ts';
import type { Registry } from '../../registry/registry.ts';
import type { Rows } from '../../registry/rows.ts';
import { type ClaimRow, createClaimCertificates, waitingText } from '../../registry/rules/claim-certificates.ts';
import { noAudit } from '../../runtime/audit.ts';
import { checkOwnership, makeOwnershipToken } from '../../sealing/ownership.ts';
import { deriveReplyKeys, type Sealer } from '../../sealing/replies.ts';
import { readTemplate } from '../../templates/template.ts';
import { type ProvisionContext, provision } from '../../worker/provision.ts';
import { createRefusedKeys } from '../../worker/refused-keys.ts';
import { type RegisterContext, register } from '../../worker/register.ts';
import { createSpareKeys } from '../../worker/spare-keys.ts';
import { sweep } from '../../worker/sweep.ts';
import { createWindowMs } from '../../worker/sweep-findings.ts';
import { makeWaiting, type WaitingContext } from '../../worker/waiting-certificate.ts';
import { type Cloud, createCloudIssuer } from '../fakes/memory-issuer.ts';
import { fleetTemplate } from '../support/fleet-device.ts';
import type { Gate, World } from './explore.ts';
import { type Store, stores } from './stores.ts';

/**
 * One claim certificate, the certificates that wait for their device by it, and two devices of its group; and the processes that
 * work on them: the same code as in the product, on fakes that behave.
 */
const claimId = 'ab'.repeat(32);
const serials = ['SN-1', 'SN-2'] as const;
const [leaseMs, graceMs] = [10_000, 900_000];
const token = 'uW4kZ0tGm2Xc9RqLb7HsYe1v';
const beginsAt = 1_700_000_000_000;
/** Of one claim certificate: each has a secret of its own. */
const connections = {
  own: deriveReplyKeys(claimName(claimId), 'the-secret-of-one-connection'),
  other: deriveReplyKeys(claimName(claimId), 'the-secret-of-another-connection'),
};
/** Ids of certificates are 64 hex digits there. */
const ownershipTokenOf = (id: string) =>
  makeOwnershipToken(connections.own, Buffer.from(id.padEnd(32)).toString('hex'), beginsAt + waitingMs);
const ownershipTokens = { w1: ownershipTokenOf('w1'), w2: ownershipTokenOf('w2') };

export type WaitingJob =
  /** a device asks by the claim certificate; with `to` it goes on to `provision` */
  | { readonly make: 'rsa' | 'CSR one'; readonly to?: (typeof serials)[number] }
  /** a worker has a `provision` with the ownership token of `w1` or `w2`: jobs with one `request` are the same job, given to two workers */
  | { readonly give: 'w1' | 'w2'; readonly to: (typeof serials)[number]; readonly request: string }
  /**
   * a holder of the claim certificate provisions by the ownership token of `w1` or `w2`, which the broker reads first. `own`: on the
   * connection that got it; `other`: on another one, of a holder who overheard it
   */
  | { readonly provision: 'w1' | 'w2'; readonly to: (typeof serials)[number]; readonly by: 'own' | 'other' }
  /** the first device asks with its own token */
  | { readonly ask: 'rsa' }
  | { readonly sweep: true }
  | { readonly operator: 'revoke' | 'block' | 'remove' };

export type WaitingScenario = {
  readonly name: string;
  /** certificates that wait at the beginning */
  readonly waits: readonly ('w1' | 'w2')[];
  readonly jobs: readonly WaitingJob[];
  readonly events?: readonly ('lease-over' | 'hour-over')[];
  /** devices that the claim certificate may serve */
  readonly most?: number;
  /** nothing here stands against a `provision`: every one that the broker takes is answered as registered, however often it is repeated */
  readonly serves?: true;
};

/** Replaces parts of the product with broken ones. */
export type WaitingSabotage = {
  claims?(whole: ClaimCertificates): ClaimCertificates;
  readonly checkOwnership?: typeof checkOwnership;
};

function createShared(gate: Gate, { waits, most = 5 }: WaitingScenario, sabotage: WaitingSabotage, store: Store) {
  const cloud: Cloud = { certificates: new Map(), things: new Set() };
  const clock = { now: beginsAt };
  /** what must not be, in words */
  const givenLate: string[] = [];
  /** by the broker, so that the queue has them */
  const taken = new Set<WaitingJob>();
  let ids = 0;
  const intendedAt: number[] = [];
  /**
   * made by a worker that was frozen for a minute or more after it had written that down: the sweep tells a certificate for a key that AWS
   * made by its time only, and reports such a one
   */
  const late = new Set<string>();
  function noteLate<T>(made: T): T {
    const isLate = intendedAt.length > 0 && intendedAt.every((at) => clock.now - at > createWindowMs);
    if (isLate) late.add((made as { certificateId: string }).certificateId);
    return made;
  }
  const { registry, rows, claims: plain, claimRows } = stores[store](() => `id-${++ids}`);
  const fresh = { tokenHash: hashToken(token), state: 'enrolled', requestedAt: 0, enrolledAt: 0, attempt: 0 } as const;
  for (const serial of serials) rows.set(serial, { ...fresh, serial, claimGroup: 'pumps' });
  const limits = { most, mostAnHour: 100, createdAt: 0, endsAt: Number.MAX_SAFE_INTEGER };
  const claim: ClaimRow = { group: 'pumps', templateName: 'pump', serials: '*', ...limits };
  const entries = waits.map((id) => waitingText({ id, at: clock.now, certificateId: id }));
  claimRows.set('#claims', { ids: [claimId] });
  claimRows.set(`#claim-${claimId}`, { ...claim, ...(entries.length === 0 ? {} : { waiting: entries }) });
  for (const id of waits)
    cloud.certificates.set(id, {
      active: false,
      policies: new Set(),
      keyDigest: `key of ${id}`,
      subject: { CN: 'AWS IoT Certificate' },
      createdAt: clock.now,
    });

  function portsOf(process: string) {
    let made = 0;
    const gated = Object.fromEntries(
      Object.entries(registry).map(([name, call]) => [
        name,
        (...args: never[]) => gate(process, name, () => (call as (...given: never[]) => unknown)(...args)),
      ]),
    ) as unknown as Registry;
    const listing: Registry['listAll'] = async function* () {
      yield* await gate(process, 'list', async () => [...rows.values()].filter(({ serial }) => isSerial(serial)));
    };
    // each read and each write is a step: a decision of two of them is none
    const stepped: Rows<ClaimRow> = {
      ...plain,
      find: (key) => gate(process, `find ${key.slice(0, 8)}`, () => plain.find(key)),
      update: (key, update, condition) =>
        gate(process, 'update of the claim', () => {
          if (update.include?.intended !== undefined) intendedAt.push(clock.now);
          return plain.update(key, update, condition);
        }),
    };
    const claims = createClaimCertificates(stepped);
    const issuer = createCloudIssuer(cloud, {
      now: () => clock.now,
      makeId: () => `${process}${++made}`,
      readCsr: (csrPem) => ({ keyDigest: `digest-of-${csrPem.replace(' ', '-')}`, subject: { CN: 'device' } }),
      step: (call, act, about) =>
        call === 'DescribeEndpoint'
          ? Promise.resolve(act())
          : gate(process, `${call} ${about}`, () => (call === 'CreateCertificate' ? noteLate(act()) : act())),
    });
    return {
      registry: { ...gated, list: listing, listAll: listing },
      claims: noticingLate(sabotage.claims?.(claims) ?? claims),
      issuer,
    };
  }

  /** When each certificate was about to be made, of those that wait. */
  const waitingSince = (certificateId: string): number | undefined =>
    claimRows
      .get(`#claim-${claimId}`)
      ?.waiting?.map((text) => text.split(' '))
      .filter(([, , , id]) => id === certificateId)
      .map(([at]) => Number(at))[0];

  /** The hour is over when the call begins: what was decided before it may be finished later. */
  function noticingLate(claims: ClaimCertificates): ClaimCertificates {
    return {
      ...claims,
      async give(id, certificateId, to) {
        const since = waitingSince(certificateId);
        const isOver = since !== undefined && clock.now > since + waitingMs;
        const given = await claims.give(id, certificateId, to);
        if (isOver && typeof given === 'object')
          givenLate.push(`${certificateId} was given to ${to.serial} after its hour`);
        return given;
      },
    };
  }
  const check = sabotage.checkOwnership ?? checkOwnership;
  /** The broker at a `provision`. @returns whether the worker gets it */
  const takes = (process: string, job: Extract<WaitingJob, { provision: string }>): Promise<boolean> =>
    gate(process, 'the broker reads the ownership token', () => {
      const isTaken = typeof check(connections[job.by], ownershipTokens[job.provision], clock.now) === 'object';
      if (isTaken) taken.add(job);
      return isTaken;
    });
  return { cloud, rows, claimRows, clock, late, givenLate, taken, takes, portsOf };
}

type Shared = ReturnType<typeof createShared>;

/** Sealing is not what is explored here. */
const seal: Sealer = { privateKey: () => '', answer: () => '', withEarlierKey: () => '' };
const template = readTemplate('pump', JSON.stringify(fleetTemplate()));
const templates = new Map('template' in template ? [['pump', template.template]] : []);

function contextOf({ portsOf, clock }: Shared, process: string): ProvisionContext & WaitingContext & RegisterContext {
  let made = 0;
  return {
    ...portsOf(process),
    replies: { deliver: async () => {} },
    seen: { last: async () => undefined, note: async () => {} },
    notices: { reopened() {}, otherWithdrawn() {} },
    earlierReplies: { kept: async () => undefined },
    restoredAt: async () => undefined,
    rootCaPem: 'ROOT',
    policyName: 'cvm-device',
    replayWindowMs: 86_400_000,
    leaseMs,
    now: () => clock.now,
    makeId: () => `attempt-${process}${++made}`,
    spareKeys: createSpareKeys(),
    refusedKeys: createRefusedKeys(),
    wrongTokens: unlimitedWrongTokens,
    makeKey: async () => ({ privateKeyPem: '', csrPem: '', keyDigest: '' }),
    seal,
    templates,
  };
}

const holder = { serial: claimName(claimId), tokenHash: 'of the connection', claim: claimId };

async function work(job: WaitingJob, process: string, shared: Shared): Promise<unknown> {
  const context = contextOf(shared, process);
  if ('make' in job) return makeAndGive(job, process, context);
  if ('give' in job) return give(job.give, job.to, job.request, context);
  if ('provision' in job)
    return (await shared.takes(process, job))
      ? give(job.provision, job.to, requestIdOf(job), context)
      : { outcome: 'refused by the broker' };
  if ('ask' in job) return provision(askOf(process, { serial: 'SN-1', tokenHash: hashToken(token) }), context);
  if ('sweep' in job) return sweepOnce(context);
  if (job.operator === 'revoke') return context.claims.revoke(claimId, context.now());
  const deps = {
    ...context,
    registry: context.registry as Registry,
    table: 't',
    gateways: async () => [],
    approvedGateways: async () => [],
    announce: async () => {},
    audit: noAudit,
    makeToken: () => token,
  };
  return job.operator === 'block' ? block('SN-1', deps) : remove('SN-1', 'with-thing', deps, { ms: 0, force: true });
}

async function makeAndGive(
  { make, to }: Extract<WaitingJob, { make: string }>,
  process: string,
  context: WaitingContext & RegisterContext,
): Promise<unknown> {
  const key = make === 'rsa' ? {} : { csrPem: make, keyDigest: `digest-of-${make.replace(' ', '-')}` };
  const made = await makeWaiting({ ...askOf(process, holder), ...key, claim: claimId }, context);
  return made.outcome === 'accepted' && to !== undefined ? give(made.certificateId, to, process, context) : made;
}

/** Repeating it is the same job. */
const requestIdOf = ({ provision: id, to, by }: Extract<WaitingJob, { provision: string }>) => `${id} ${to} ${by}`;

const askOf = (
  requestId: string,
  who: Pick<ProvisioningRequest, 'serial' | 'tokenHash'>,
): Omit<ProvisioningRequest, 'claim'> => ({ requestId, ...who, replyKey: '', key: 'rsa', receivedAt: 1 });

const give = (certificateId: string, to: string, requestId: string, context: RegisterContext) =>
  register(
    {
      ...holder,
      certificateId,
      registration: { requestId, replyKey: '', templateName: 'pump', parameters: { SerialNumber: to } },
    },
    context,
  );

const sweepOnce = (context: ProvisionContext & WaitingContext) =>
  sweep({
    registry: context.registry as Registry,
    claims: context.claims,
    table: 't',
    issuer: context.issuer,
    ownerTag: { organization: 'cvm-gateway', unit: 't' },
    graceMs,
    replayWindowMs: context.replayWindowMs,
    dryRun: false,
    now: () => context.now(),
    report() {},
  });

export function openWaitingWorld(scenario: WaitingScenario, sabotage: WaitingSabotage = {}, store: Store = 'memory') {
  return (gate: Gate): World => {
    const shared = createShared(gate, scenario, sabotage, store);
    const { rows, cloud, claimRows, clock } = shared;
    const happen = {
      'lease-over': () => {
        clock.now += leaseMs + 1;
      },
      'hour-over': () => {
        clock.now += waitingMs + graceMs + 1;
      },
    };
    return {
      processes: scenario.jobs.map((job, index) => {
        const name = 'ABCD'[index] ?? '?';
        return { name, run: () => gate(name, 'begins', () => {}).then(() => work(job, name, shared)) };
      }),
      events: (scenario.events ?? []).map((name) => ({ name, times: 1, happen: happen[name] })),
      snapshot: () =>
        JSON.stringify([
          [...rows.values()],
          [...claimRows.values()],
          [...cloud.certificates].map(([id, { active, thingName, policies }]) => [
            id,
            active,
            thingName,
            policies.size,
          ]),
          clock.now,
          shared.taken.size,
        ]),
      check: () => check(shared, scenario),
      finish: () => finish(scenario, shared),
    };
  };
}

/** What holds at every instant. */
function check({ rows, cloud, claimRows, givenLate }: Shared, { most = 5, jobs }: WaitingScenario): void {
  if (givenLate.length > 0) throw new Error(givenLate.join('; '));
  for (const job of jobs)
    if ('provision' in job && job.by === 'other' && rows.get(job.to)?.certificateId === job.provision)
      throw new Error(`${job.to} has ${job.provision} by an ownership token of another connection`);
  const holders = new Map<string, string>();
  for (const [id, { active, policies, thingName }] of cloud.certificates) {
    if (!active || policies.size === 0) continue;
    const serial = thingName ?? 'nobody';
    if (holders.has(serial)) throw new Error(`${serial} has ${holders.get(serial)} and ${id}, both active`);
    holders.set(serial, id);
    const row = rows.get(serial);
    const named = [row?.certificateId, row?.previousCertificateId, ...(row?.pendingDeletion ?? [])];
    if (!named.includes(id)) throw new Error(`${id} is active, and the row of ${serial} does not name it`);
  }
  const { served = 0 } = claimRows.get(`#claim-${claimId}`) ?? {};
  if (served > most || served < 0) throw new Error(`${served} devices are counted, of ${most}`);
}

/** The queue repeats what failed, the hour passes, the operator repeats himself, and the sweep runs. */
async function finish(scenario: WaitingScenario, shared: Shared): Promise<void> {
  const { rows, cloud, claimRows, clock, late } = shared;
  for (const [index, job] of scenario.jobs.entries())
    if ('give' in job || 'operator' in job || shared.taken.has(job))
      await untilDone(scenario, job, `R${index}`, shared);
  check(shared, scenario);
  for (const round of [1, 2]) {
    clock.now += waitingMs + 10 * graceMs;
    await sweepOnce(contextOf(shared, `S${round}`));
  }
  check(shared, scenario);
  for (const { serial, state, certificateId = 'none' } of rows.values())
    if (state === 'registered' && cloud.certificates.get(certificateId)?.active !== true)
      throw new Error(`${serial} is registered, and its certificate ${certificateId} does not work`);
  const named = new Set([...rows.values()].map(({ certificateId }) => certificateId));
  const left = [...cloud.certificates.keys()].filter((id) => !named.has(id) && !late.has(id));
  if (left.length > 0) throw new Error(`left over after an hour: ${left.join(', ')}`);
  const { intended, waiting, given, over } = claimRows.get(`#claim-${claimId}`) ?? {};
  const noted = [intended, waiting, given, over].flatMap((texts) => texts ?? []);
  if (noted.length > 0) throw new Error(`still noted after an hour: ${noted.join('; ')}`);
}

/** What the queue has is not read by the broker again. */
const again = async (job: WaitingJob, process: string, shared: Shared): Promise<unknown> =>
  'provision' in job
    ? give(job.provision, job.to, requestIdOf(job), contextOf(shared, process))
    : ((await work(job, process, shared)) ?? 'done');

async function untilDone({ serves }: WaitingScenario, job: WaitingJob, process: string, shared: Shared): Promise<void> {
  for (let tries = 1; tries <= 8; tries++) {
    const done = await again(job, `${process}${tries}`, shared).catch(() => undefined);
    const isRegistered = (done as { outcome?: string } | undefined)?.outcome === 'registered';
    if (done !== undefined && serves && !isRegistered)
      throw new Error(`a provision that the broker took was refused: ${JSON.stringify(done)}`);
    if (done !== undefined) return;
    shared.clock.now += leaseMs + 1;
  }
  throw new Error('a job never ends');
}
