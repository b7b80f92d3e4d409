import type { Issuer } from '../../issuer/issuer.ts';
import { block, remove, unblock } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { enrol } from '../../operator/enrol.ts';
import { move } from '../../operator/move.ts';
import { reissue } from '../../operator/reissue.ts';
import type { Answer } from '../../protocol/answer.ts';
import { hashToken } from '../../protocol/token.ts';
import { type ProvisioningRequest, recipientIdOf } from '../../queue/provisioning-request.ts';
import type { SealedReply } from '../../queue/replies.ts';
import { unlimitedWrongTokens } from '../../queue/token-attempts.ts';
import { textOf } from '../../registry/create-intents.ts';
import type { Registry } from '../../registry/registry.ts';
import { noAudit } from '../../runtime/audit.ts';
import type { Sealer } from '../../sealing/replies.ts';
import { readTemplate } from '../../templates/template.ts';
import { type ProvisionContext, provision } from '../../worker/provision.ts';
import { createRefusedKeys } from '../../worker/refused-keys.ts';
import { createSpareKeys } from '../../worker/spare-keys.ts';
import { sweep } from '../../worker/sweep.ts';
import type { Finding, SweepOptions } from '../../worker/sweep-findings.ts';
import { type Cloud, createCloudIssuer } from '../fakes/memory-issuer.ts';
import { fleetTemplate } from '../support/fleet-device.ts';
import type { Gate, World } from './explore.ts';
import { type ModelRows, type Store, stores } from './stores.ts';

/**
 * One device, its row, its certificates, and the gateways that it asks, each with a Redis of its own; and the processes that work
 * on them. The clock is one for all and goes forward only: what the clocks of two machines can differ by is in `registry/lease.ts`.
 */
export const serial = 'SN-1';
/** A device with the same key pair, as a copy of the first has. */
export const copy = 'SN-2';
/** As random as enrolment wants them. */
export const [firstToken, secondToken] = ['uW4kZ0tGm2Xc9RqLb7HsYe1v', 'Nf6pJd3aVo8yTi5wBx0KzQ2r'];
const leaseMs = 10_000;
const graceMs = 900_000;
export const replayWindowMs = 86_400_000;

export type Flow = ({ readonly key: 'rsa' | 'ec' } | { readonly csrPem: string }) & {
  /** it names the template, which gives its certificate the policy `pumps` */
  readonly byTemplate?: true;
};

/** What a process does, one of these. */
export type Job =
  | {
      readonly ask: string;
      readonly flow: Flow;
      readonly token?: string;
      readonly gateway?: Gateway;
      /** the copy asks */
      readonly isCopy?: true;
      /** the device asked before it had its certificate, and the request was forgotten, or comes out of an older Redis */
      readonly isOld?: true;
    }
  /** `move`: to the site of `there`. `replace`: the device is removed, and the serial is enrolled again with another token; then it asks */
  | { readonly operator: 'reissue' | 'block' | 'unblock' | 'remove' | 'replace' | 'move' }
  | { readonly sweep: true };

export type Gateway = 'here' | 'there';

export type Start =
  | 'enrolled'
  | 'registered'
  | 'reissued'
  | 'reissued-half-done'
  | 'half-done'
  | 'answer-lost'
  /** registered, by an earlier version that kept the reply elsewhere */
  | 'registered-without-reply'
  /** two devices have the same key pair */
  | 'copied'
  /** and the answer to the first one's create call was lost, which made nothing */
  | 'copied-answer-lost'
  /** the table was restored: the device has a certificate that its row does not know of */
  | 'restored';

export type Scenario = {
  readonly name: string;
  readonly start: Start;
  readonly jobs: readonly Job[];
  readonly events?: readonly EventName[];
  /** the device asks no more: it has its certificate */
  readonly isSilent?: true;
  /** each gateway has a site of its own, and the device has that of `here` */
  readonly hasSites?: true;
};

type EventName =
  | 'lease-over'
  /** the queue gives a request to another worker */
  | 'given-on'
  | 'grace-over'
  /** the replay window of everything so far is over */
  | 'window-over'
  /** the Redis of `here` loses all that it has */
  | 'redis-forgets';

/** Replaces parts of the product with broken ones, to see whether that is caught. */
export type Sabotage = {
  registry?(whole: Registry, shared: SabotagedState): Registry;
  issuer?(whole: Issuer, cloud: Cloud): Issuer;
  /** the id of a claim, by how many there were */
  makeId?(count: number): string;
  /** judges an old request as if the device asked now */
  believesOldRequests?: true;
};

/** What a sabotaged registry may look at. `gateway`: of the process that calls. */
export type SabotagedState = {
  readonly rows: ModelRows;
  readonly clock: { readonly now: number };
  readonly gateway: Gateway;
  /** for what the sabotage keeps in Redis; `redis-forgets` empties that of `here` */
  readonly redis: Record<Gateway, Map<string, { sealed: string; until: number }>>;
};

/** The state that processes share, and the ports onto it. Calls go through `gate` under the name of who makes them. */
function createShared(gate: Gate, sabotage: Sabotage, store: Store, hasSites: boolean) {
  const cloud: Cloud = { certificates: new Map(), things: new Set() };
  const delivered: string[] = [];
  const seen = { here: new Map<string, string>(), there: new Map<string, string>() };
  const redis = { here: new Map(), there: new Map() } as SabotagedState['redis'];
  const clock = { now: 1_000_000_000 };
  /** reported by a sweep as unknown */
  const unknown = new Set<string>();
  let ids = 0;
  const makeId = sabotage.makeId ?? ((count: number) => `claim-${count}`);
  const { rows, registry: memory } = stores[store](() => makeId(++ids));
  /** gateways that were given a device of another site */
  const strangers = new Set<Gateway>();

  function portsOf(process: string, gateway: Gateway) {
    let made = 0;
    const whole = sabotage.registry?.(memory, { rows, clock, gateway, redis });
    const registry = whole ?? memory;
    const calls = <K extends keyof Registry>(name: K) =>
      ((...args: never[]) =>
        gate(process, String(name), () => (registry[name] as (...given: never[]) => unknown)(...args))) as Registry[K];
    const names = Object.keys(memory).filter((name) => !name.startsWith('list')) as (keyof Registry)[];
    const gated = Object.fromEntries(names.map((name) => [name, calls(name)])) as unknown as Registry;
    const claiming: Registry['claim'] = (request) =>
      gate(process, 'claim', async () => {
        const claim = await registry.claim(request);
        if (hasSites && 'device' in claim && rows.get(serial)?.site !== gateway) strangers.add(gateway);
        return claim;
      });
    const listing: Registry['listAll'] = async function* () {
      yield* await gate(process, 'list', async () => [...rows.values()]);
    };
    const issuer = createCloudIssuer(cloud, {
      now: () => clock.now,
      makeId: () => `${process}${++made}`,
      readCsr: (csrPem) => ({ keyDigest: digestOf(csrPem), subject: subjectOf(csrPem) }),
      step: (call, act, about) =>
        call === 'DescribeEndpoint' ? Promise.resolve(act()) : gate(process, `${call} ${about}`, act),
    });
    return {
      registry: { ...gated, claim: claiming, list: listing, listAll: listing },
      issuer: sabotage.issuer?.(issuer, cloud) ?? issuer,
      replies: {
        deliver: ({ sealed }: SealedReply) => gate(process, 'deliver', () => void delivered.push(sealed)),
      },
      seen: {
        last: () => gate(process, 'last', () => seen[gateway].get(serial)),
        note: (_serial: string, id: string) => gate(process, 'note', () => void seen[gateway].set(serial, id)),
      },
    };
  }
  return { rows, cloud, delivered, seen, redis, clock, unknown, strangers, portsOf, sabotage, hasSites };
}

type Shared = ReturnType<typeof createShared>;
type Ports = ReturnType<Shared['portsOf']>;

/** Sealing is not what is explored here: an answer is sealed by writing it down. */
const openSeal: Sealer = {
  privateKey: (_publicKey, to, key) => JSON.stringify({ key, to }),
  answer: (_publicKey, to, answer, sealedKey) => written({ ...answer, to, sealedKey }),
  withEarlierKey: () => '',
};
const written = (answer: object): string => Buffer.from(JSON.stringify(answer)).toString('base64url');
const read = (sealed: string): WrittenAnswer => JSON.parse(Buffer.from(sealed, 'base64url').toString());
type WrittenAnswer = {
  readonly credentials?: { readonly certificateId: string };
  readonly to?: string;
  readonly sealedKey?: string;
};
const digestOf = (csrPem: string) => `digest of ${csrPem}`;
const subjectOf = (csrPem: string): Record<string, string> =>
  csrPem.startsWith('own') ? { O: 'cvm-gateway', OU: 't', CN: serial } : { CN: 'device' };

const templates = (() => {
  const policy = { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'pumps' } };
  const read = readTemplate('pump', JSON.stringify(fleetTemplate({}, {}, { policy })));
  if ('faults' in read) throw new Error(read.faults.join('\n'));
  return new Map([['pump', read.template]]);
})();

function contextOf(shared: Shared, process: string, gateway: Gateway = 'here'): ProvisionContext {
  let made = 0;
  return {
    ...shared.portsOf(process, gateway),
    notices: { reopened() {}, otherWithdrawn() {} },
    earlierReplies: { kept: async () => undefined },
    restoredAt: async () => undefined,
    rootCaPem: 'ROOT',
    policyName: 'cvm-device',
    replayWindowMs,
    site: shared.hasSites ? gateway : undefined,
    leaseMs,
    now: () => shared.clock.now,
    spareKeys: createSpareKeys(),
    refusedKeys: createRefusedKeys(),
    templates,
    wrongTokens: unlimitedWrongTokens,
    async makeKey() {
      const csrPem = `own CSR ${process}${++made}`;
      return { privateKeyPem: `key of ${csrPem}`, csrPem, keyDigest: digestOf(csrPem) };
    },
    seal: openSeal,
  };
}

function askOf(
  requestId: string,
  flow: Flow,
  receivedAt: number,
  token = firstToken,
  asking = serial,
): ProvisioningRequest {
  const key =
    'csrPem' in flow
      ? { key: 'rsa' as const, csrPem: flow.csrPem, keyDigest: digestOf(flow.csrPem) }
      : { key: flow.key };
  const template = { templateName: 'pump', parameters: { SerialNumber: asking } };
  const byTemplate = flow.byTemplate ? { template } : {};
  return { requestId, serial: asking, tokenHash: hashToken(token), replyKey: '', receivedAt, ...key, ...byTemplate };
}

async function work(job: Job, process: string, shared: Shared): Promise<unknown> {
  if ('ask' in job) {
    const receivedAt = job.isOld && !shared.sabotage.believesOldRequests ? 0 : Number.MAX_SAFE_INTEGER;
    const request = askOf(job.ask, job.flow, receivedAt, job.token, job.isCopy ? copy : serial);
    return provision(request, contextOf(shared, process, job.gateway));
  }
  const ports = shared.portsOf(process, 'here');
  if ('sweep' in job) return sweep(sweepOf(shared, ports));
  const deps = operatorOf(ports, shared.clock);
  if (job.operator === 'block') return block(serial, deps);
  if (job.operator === 'unblock') return unblock(serial, deps);
  if (job.operator === 'remove') return remove(serial, 'with-thing', deps, urgent);
  if (job.operator === 'move') return move(serial, 'there', deps, urgent);
  if (job.operator === 'replace') {
    await replace(deps);
    return provision(askOf('new', { key: 'rsa' }, shared.clock.now, secondToken), contextOf(shared, process));
  }
  return reissue(serial, { patience: urgent, onToken: () => {} }, deps);
}

async function replace(deps: OperatorDeps): Promise<void> {
  await remove(serial, 'with-thing', deps, urgent);
  await enrol([{ serial, token: secondToken }], deps);
}

/** The operator decides also while a worker is at the device. */
const urgent = { ms: 0, force: true };

function operatorOf({ registry, issuer }: Ports, clock: Shared['clock']): OperatorDeps {
  return {
    registry,
    table: 't',
    issuer,
    gateways: async () => [],
    approvedGateways: async () => [],
    announce: async () => {},
    silent: { read: async () => undefined },
    audit: noAudit,
    now: () => clock.now,
    makeToken: () => secondToken,
  };
}

function sweepOf(shared: Shared, { registry, issuer }: Ports): SweepOptions {
  const ownerTag = { organization: 'cvm-gateway', unit: 't' } as const;
  const report = ({ kind, certificateId = '' }: Finding) => {
    if (kind === 'certificate-unknown') shared.unknown.add(certificateId);
  };
  return {
    registry,
    table: 't',
    issuer,
    ownerTag,
    graceMs,
    replayWindowMs,
    dryRun: false,
    now: () => shared.clock.now,
    report,
  };
}

/** Brings the shared state to where a scenario starts, without anybody watching. */
function prepare(start: Start, shared: Shared): void {
  const { rows, cloud, seen } = shared;
  const hash = hashToken(firstToken);
  const site = shared.hasSites ? { site: 'here' } : {};
  const row = {
    serial,
    tokenHash: hash,
    enrolledAt: 0,
    requestedAt: 0,
    state: 'enrolled' as const,
    attempt: 0,
    ...site,
  };
  rows.set(serial, row);
  if (start.startsWith('copied')) rows.set(copy, { ...row, serial: copy });
  if (start === 'copied-answer-lost') {
    const lost = { id: 'claim-0', at: shared.clock.now, keyDigest: digestOf('CSR one') };
    rows.set(serial, { ...row, attempt: 1, createIntents: [textOf(lost)] });
  }
  const certify = (id: string, change: { active?: boolean; attached?: boolean; csrPem?: string }) => {
    cloud.certificates.set(id, {
      active: change.active ?? false,
      policies: new Set(change.attached ? ['cvm-device'] : []),
      ...(change.attached ? { thingName: serial } : {}),
      keyDigest: digestOf(change.csrPem ?? `key of ${id}`),
      subject: { CN: 'AWS IoT Certificate' },
      createdAt: shared.clock.now,
    });
    cloud.things.add(serial);
  };
  const live = { state: 'registered' as const, attempt: 1, requestedAt: shared.clock.now, issuedAt: shared.clock.now };
  const answer: Answer = {
    status: 'accepted',
    credentials: { certificateId: 'p', certificatePem: 'PEM p', thingName: serial, endpoint: 'e', rootCaPem: 'ROOT' },
  };
  if (start === 'registered' || start === 'registered-without-reply' || start === 'restored')
    certify('p', { active: true, attached: true });
  const registered = { ...row, ...live, certificateId: 'p' };
  if (start === 'registered') {
    rows.set(serial, { ...registered, keptReply: written(answer) });
    shared.redis.here.set('p', { sealed: written(answer), until: shared.clock.now + replayWindowMs });
  }
  if (start === 'registered-without-reply') rows.set(serial, registered);
  if (start === 'restored') seen.here.set(serial, 'p');
  if (start === 'reissued' || start === 'reissued-half-done') {
    certify('p', { active: true, attached: true });
    rows.set(serial, { ...row, attempt: 2, previousCertificateId: 'p' });
  }
  if (start === 'half-done' || start === 'reissued-half-done') {
    certify('h', { attached: true });
    const current = rows.get(serial) ?? row;
    const lease = { state: 'provisioning' as const, leaseUntil: shared.clock.now, requestedAt: shared.clock.now };
    rows.set(serial, { ...current, ...lease, attempt: current.attempt + 1, certificateId: 'h' });
  }
  if (start === 'answer-lost') {
    certify('l', { csrPem: 'CSR one' });
    const lost = { at: shared.clock.now, keyDigest: digestOf('CSR one') };
    rows.set(serial, { ...row, attempt: 1, requestedAt: shared.clock.now, numberedIntents: { 1: lost } });
  }
}

export function openWorld(scenario: Scenario, sabotage: Sabotage = {}, store: Store = 'memory') {
  return (gate: Gate): World => {
    const shared = createShared(gate, sabotage, store, scenario.hasSites ?? false);
    prepare(scenario.start, shared);
    const { rows, cloud, delivered, seen, redis, clock } = shared;
    const happen: Record<EventName, () => void> = {
      'lease-over': () => {
        clock.now += leaseMs + 1;
      },
      'given-on': () => {
        clock.now += leaseMs / 2;
      },
      'grace-over': () => {
        clock.now += graceMs + 1;
      },
      'window-over': () => {
        clock.now += replayWindowMs + 1;
      },
      'redis-forgets': () => {
        seen.here.clear();
        redis.here.clear();
      },
    };
    return {
      processes: scenario.jobs.map((job, index) => {
        const name = 'ABCD'[index] ?? '?';
        // a process may begin at any time: by then a lease may be over
        return { name, run: () => gate(name, 'begins', () => {}).then(() => work(job, name, shared)) };
      }),
      // three workers can have had one request
      events: (scenario.events ?? []).map((name) => ({
        name,
        times: name === 'given-on' ? 2 : 1,
        happen: happen[name],
      })),
      snapshot: () =>
        JSON.stringify([
          [...rows.values()],
          [...cloud.certificates].map(([id, { active, thingName, policies }]) => [
            id,
            active,
            thingName,
            policies.size,
          ]),
          [...cloud.things],
          delivered,
          [...seen.here, ...seen.there],
          [...redis.here, ...redis.there],
          clock.now,
        ]),
      check() {
        const working = [...cloud.certificates].filter(([, { active, policies }]) => active && policies.size > 0);
        if (working.length > 1)
          throw new Error(`${working.map(([id]) => id).join(' and ')} are both active, with a policy`);
        for (const { certificateId = '', template } of rows.values())
          if (template !== undefined && cloud.certificates.get(certificateId)?.active)
            if (!cloud.certificates.get(certificateId)?.policies.has('pumps'))
              throw new Error(`${certificateId} is active without what its template says`);
        if (shared.strangers.size > 0) throw new Error('a gateway of another site was given the device');
      },
      finish: () => finish(scenario, shared),
    };
  };
}

/** What happens after every crash: the device asks again until it is answered, the operator repeats himself, one sweep. */
async function finish(scenario: Scenario, shared: Shared): Promise<void> {
  const { rows, cloud, delivered } = shared;
  if (scenario.start.startsWith('copied')) return finishCopied(scenario, shared);
  const operator = scenario.jobs.flatMap((job) => ('operator' in job ? [job.operator] : [])).at(-1);
  const before = delivered.map((sealed) => certificateIn(sealed)).filter((id) => id !== undefined);
  if (operator === 'replace') await replaceUntilDone(shared);
  else if (operator !== undefined) await work({ operator }, 'O', shared);
  if (operator === 'remove') {
    await sweepLater(shared, 10 * graceMs);
    await sweepLater(shared, removedMs);
    if (rows.size + cloud.certificates.size + cloud.things.size > 0)
      throw new Error('something is left of a removed device');
    return;
  }
  if (operator === 'block') {
    if ([...cloud.certificates.values()].some(({ active }) => active))
      throw new Error('a blocked device has an active certificate');
    await work({ operator: 'unblock' }, 'U', shared);
  }
  if (scenario.isSilent !== true) await askUntilAnswered(scenario, shared);
  await sweepLater(shared, 10 * graceMs);
  judge(before, operator, scenario, shared);
}

/** Both devices ask until they are answered: one gets the certificate for their key, and nothing else is left. */
async function finishCopied(scenario: Scenario, shared: Shared): Promise<void> {
  const { rows, cloud, clock } = shared;
  const flow = flowOf(rows, scenario);
  const answers: string[] = [];
  for (const asking of [serial, copy])
    for (let round = 1; answers.length < (asking === serial ? 1 : 2); round++) {
      if (round > 6) throw new Error(`${asking} gets no answer`);
      const request = askOf(`${asking} ${round}`, flow, clock.now + 1, firstToken, asking);
      const result = await provision(request, contextOf(shared, `R${asking}${round}`)).catch(() => undefined);
      if (result?.outcome === 'accepted') answers.push(result.certificateId);
      if (result?.outcome === 'rejected') answers.push(result.problem.code);
      clock.now += leaseMs + 1;
    }
  await sweepLater(shared, 10 * graceMs);
  const named = [...rows.values()].filter(({ state }) => state === 'registered');
  const [{ certificateId = 'none', serial: holder } = { certificateId: 'none', serial: 'none' }] = named;
  if (named.length !== 1 || [...answers].sort().join() !== [certificateId, 'InvalidCsr'].sort().join())
    throw new Error(`${named.length} devices have the key, and the answers are ${answers.join(' and ')}`);
  const found = cloud.certificates.get(certificateId);
  if (!found?.active || found.policies.size === 0 || found.thingName !== holder)
    throw new Error('the certificate that the table names does not work');
  if (cloud.certificates.size > 1) throw new Error(`left over: ${[...cloud.certificates.keys()].join(', ')}`);
}

/** Longer than a sweep looks for the thing of a removed device. */
const removedMs = 2 * 86_400_000;

async function sweepLater(shared: Shared, ms: number): Promise<void> {
  shared.clock.now += ms;
  await work({ sweep: true }, `S${ms}`, shared);
}

/** A row of the removed device may stay until a sweep has looked for the outcome of its create calls. */
async function replaceUntilDone(shared: Shared): Promise<void> {
  for (let tries = 1; tries <= 3 && tokenOf(shared.rows) !== secondToken; tries++) {
    await work({ operator: 'replace' }, `O${tries}`, shared);
    await sweepLater(shared, tries * 10 * graceMs);
  }
}

/** A device keeps the key that its certificate is for. */
function flowOf(rows: ModelRows, { jobs }: Scenario): Flow {
  const digest = rows.get(serial)?.keyDigest;
  if (digest !== undefined) return { csrPem: digest.slice('digest of '.length) };
  const asked = jobs.find((job) => 'ask' in job);
  return asked !== undefined && 'ask' in asked ? asked.flow : { key: 'rsa' };
}

const tokenOf = (rows: ModelRows) =>
  rows.get(serial)?.tokenHash === hashToken(secondToken) ? secondToken : firstToken;

async function askUntilAnswered(scenario: Scenario, shared: Shared): Promise<void> {
  const { rows, clock } = shared;
  for (let round = 1; round <= 6; round++) {
    const request = askOf(`again ${round}`, flowOf(rows, scenario), clock.now + 1, tokenOf(rows));
    const home = homeOf(shared);
    const result = await provision(request, contextOf(shared, `R${round}`, home)).catch(() => undefined);
    if (result?.outcome === 'accepted') return askElsewhere(request, result.certificateId, shared);
    if (result?.outcome === 'rejected') {
      const tooLate = scenario.events?.includes('window-over') && result.problem.code === 'AlreadyProvisioned';
      if (tooLate) return;
      throw new Error(`the device is refused: ${result.problem.code}`);
    }
    clock.now += leaseMs + 1;
  }
  throw new Error('the device gets no answer');
}

/** The gateway that serves the device. */
const homeOf = ({ rows, hasSites }: Shared): Gateway =>
  hasSites && rows.get(serial)?.site === 'there' ? 'there' : 'here';

async function askElsewhere(request: ProvisioningRequest, certificateId: string, shared: Shared): Promise<void> {
  const elsewhere = homeOf(shared) === 'here' ? 'there' : 'here';
  const result = await provision(request, contextOf(shared, 'E', elsewhere));
  if (shared.hasSites) {
    if (result.outcome !== 'rejected' || result.problem.code !== 'InvalidToken')
      throw new Error('the device is not unknown at the other site');
    return;
  }
  if (result.outcome !== 'accepted' || result.certificateId !== certificateId)
    throw new Error('another gateway gives the device another answer');
}

function judge(before: readonly string[], operator: string | undefined, scenario: Scenario, shared: Shared): void {
  const { rows, cloud, delivered } = shared;
  const { start, events = [], isSilent = false } = scenario;
  const row = rows.get(serial);
  const id = row?.certificateId;
  if (row?.state !== 'registered' || id === undefined) throw new Error('the device is not registered at the end');
  const found = cloud.certificates.get(id);
  if (!found?.active || found.policies.size === 0 || found.thingName !== serial)
    throw new Error('the certificate that the table names does not work');
  // what a worker makes that was frozen for a quarter of an hour between writing it down and doing it can be reported,
  // but not proven to be ours, where AWS made the key
  const frozen = events.includes('grace-over') || events.includes('window-over');
  const left = [...cloud.certificates].filter(([each]) => each !== id && !(frozen && shared.unknown.has(each)));
  if (left.length > 0) throw new Error(`left over: ${left.map(([each]) => each).join(', ')}`);
  if (!cloud.things.has(serial)) throw new Error('there is no thing');
  // what the device holds: it had a certificate before, or got the last one that was handed over
  const had = start.startsWith('registered') ? ['p'] : [];
  const held = delivered.map((sealed) => certificateIn(sealed)).findLast((each) => each !== undefined) ?? had[0];
  // after the window, a device that was answered too late holds none
  if (held !== id && !(held === undefined && events.includes('window-over')))
    throw new Error('the device holds another certificate than the table names');
  // a device keeps the certificate that it was given, unless its reply was lost or the operator reissued it
  const mayChange =
    (operator !== undefined && operator !== 'move') || (start === 'registered-without-reply' && !isSilent);
  const changed = [...had, ...before].filter((each) => each !== id);
  if (!mayChange && changed.length > 0)
    throw new Error(`${changed.join(', ')} was handed over, and does not work any more`);
  if (delivered.length > 0) judgeSecret(delivered, found.keyDigest, tokenOf(rows));
}

/** The private key that the device got last is the one of its certificate, and only its present token opens it. */
function judgeSecret(delivered: readonly string[], keyDigest: string, token: string): void {
  const accepted = delivered.findLast((sealed) => certificateIn(sealed) !== undefined);
  const { to, sealedKey } = accepted === undefined ? {} : read(accepted);
  const recipientId = recipientIdOf(serial, hashToken(token));
  if (to !== undefined && to !== recipientId) throw new Error('the reply is sealed to another token');
  if (sealedKey === undefined) return;
  const { key, to: keyTo } = JSON.parse(sealedKey) as { key: string; to: string };
  if (keyTo !== recipientId) throw new Error('the private key is sealed to another token');
  if (digestOf(key.slice('key of '.length)) !== keyDigest)
    throw new Error('the private key that was handed over is not that of the certificate');
}

function certificateIn(sealed: string): string | undefined {
  return read(sealed).credentials?.certificateId;
}
