import type { Issuer } from '../../issuer/issuer.ts';
import { block, remove, unblock } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { reissue } from '../../operator/reissue.ts';
import type { Answer } from '../../protocol/answer.ts';
import { hashToken } from '../../protocol/token.ts';
import { type ProvisioningRequest, recipientIdOf } from '../../queue/provisioning-request.ts';
import type { ReplyStore } from '../../queue/replies.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { noAudit } from '../../runtime/audit.ts';
import type { Sealer } from '../../sealing/replies.ts';
import { type ProvisionContext, provision } from '../../worker/provision.ts';
import { sweep } from '../../worker/sweep.ts';
import type { Finding, SweepOptions } from '../../worker/sweep-findings.ts';
import { type Cloud, createCloudIssuer } from '../fakes/memory-issuer.ts';
import type { Gate, World } from './explore.ts';

/** One device, its row, its certificates and its replies; and the processes that work on them. */
export const serial = 'SN-1';
export const [firstToken, secondToken] = ['the-first-token-of-it', 'the-second-token-of-it'];
const leaseMs = 10_000;
const graceMs = 900_000;
const replayWindowMs = 86_400_000;

export type Flow = { readonly key: 'rsa' | 'ec' } | { readonly csrPem: string };

/** What a process does, one of these. */
export type Job =
  | { readonly ask: string; readonly flow: Flow; readonly token?: string }
  | { readonly operator: 'reissue' | 'block' | 'unblock' | 'remove' }
  | { readonly sweep: true };

export type Start = 'enrolled' | 'registered' | 'reissued' | 'reissued-half-done' | 'half-done' | 'answer-lost';

export type Scenario = {
  readonly name: string;
  readonly start: Start;
  readonly jobs: readonly Job[];
  readonly events?: readonly ('lease-over' | 'grace-over' | 'reply-gone')[];
};

/** Replaces parts of the product with broken ones, to see whether that is caught. */
export type Sabotage = {
  registry?(whole: Registry, rows: Map<string, Device>): Registry;
  issuer?(whole: Issuer, cloud: Cloud): Issuer;
};

/** The state that processes share, and the ports onto it. Calls go through `gate` under the name of who makes them. */
function createShared(gate: Gate, sabotage: Sabotage) {
  const rows = new Map<string, Device>();
  const cloud: Cloud = { certificates: new Map(), things: new Set() };
  const kept = new Map<string, string>();
  const delivered: string[] = [];
  const clock = { now: 1_000_000_000 };
  /** reported by a sweep as unknown */
  const unknown = new Set<string>();
  const memory = createMemoryRegistry(rows);
  const registry = sabotage.registry?.(memory, rows) ?? memory;

  function portsOf(process: string): { registry: Registry; issuer: Issuer; replies: ReplyStore } {
    let made = 0;
    const calls = <K extends keyof Registry>(name: K) =>
      ((...args: never[]) =>
        gate(process, String(name), () => (registry[name] as (...given: never[]) => unknown)(...args))) as Registry[K];
    const names = Object.keys(memory).filter((name) => name !== 'list') as (keyof Registry)[];
    const gated = Object.fromEntries(names.map((name) => [name, calls(name)])) as unknown as Registry;
    const listing: Registry['list'] = async function* () {
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
      registry: { ...gated, list: listing },
      issuer: sabotage.issuer?.(issuer, cloud) ?? issuer,
      replies: {
        deliver: ({ sealed }) => gate(process, 'deliver', () => void delivered.push(sealed)),
        keep: (recipientId, id, sealed) => gate(process, 'keep', () => void kept.set(`${recipientId} ${id}`, sealed)),
        kept: (recipientId, id) => gate(process, 'kept', () => kept.get(`${recipientId} ${id}`)),
        erase: (recipientId, id) => gate(process, 'erase', () => void kept.delete(`${recipientId} ${id}`)),
        close: async () => {},
      },
    };
  }
  return { rows, cloud, kept, delivered, clock, unknown, portsOf };
}

type Shared = ReturnType<typeof createShared>;
type Ports = ReturnType<Shared['portsOf']>;

/** Sealing is not what is explored here: an answer is sealed by writing it down. */
const openSeal: Sealer = {
  privateKey: (_publicKey, _box, privateKeyPem) => privateKeyPem,
  answer: (_publicKey, _box, answer, sealedKey) => JSON.stringify({ ...answer, sealedKey }),
};
const digestOf = (csrPem: string) => `digest of ${csrPem}`;
const subjectOf = (csrPem: string): Record<string, string> =>
  csrPem.startsWith('own') ? { O: 'cvm-gateway', OU: 't', CN: serial } : { CN: 'device' };

function contextOf(shared: Shared, process: string): ProvisionContext {
  let made = 0;
  return {
    ...shared.portsOf(process),
    rootCaPem: 'ROOT',
    policyName: 'cvm-device',
    replayWindowMs,
    leaseMs,
    now: () => shared.clock.now,
    async makeKey() {
      const csrPem = `own CSR ${process}${++made}`;
      return { privateKeyPem: `key of ${csrPem}`, csrPem, keyDigest: digestOf(csrPem) };
    },
    seal: openSeal,
  };
}

function askOf(requestId: string, flow: Flow, token = firstToken): ProvisioningRequest {
  const own = 'csrPem' in flow ? { key: 'rsa' as const, csrPem: flow.csrPem, keyDigest: digestOf(flow.csrPem) } : flow;
  return { requestId, serial, tokenHash: hashToken(token), replyKey: '', receivedAt: 0, ...own };
}

async function work(job: Job, process: string, shared: Shared): Promise<unknown> {
  if ('ask' in job) return provision(askOf(job.ask, job.flow, job.token), contextOf(shared, process));
  const ports = shared.portsOf(process);
  if ('sweep' in job) return sweep(sweepOf(shared, ports));
  const deps = operatorOf(ports);
  if (job.operator === 'block') return block(serial, deps);
  if (job.operator === 'unblock') return unblock(serial, deps);
  if (job.operator === 'remove') return remove(serial, 'with-thing', deps);
  return reissue(serial, { onToken: () => {} }, deps);
}

/** By this operator's clock every lease is over: it decides also while a worker is at the device. */
function operatorOf({ registry, issuer }: Ports): OperatorDeps {
  return {
    registry,
    issuer,
    gateways: async () => [],
    announce: async () => {},
    audit: noAudit,
    now: () => Number.POSITIVE_INFINITY,
    makeToken: () => secondToken,
  };
}

function sweepOf(shared: Shared, { registry, issuer }: Ports): SweepOptions {
  const ownerTag = { organization: 'cvm-gateway', unit: 't' } as const;
  const report = ({ kind, certificateId = '' }: Finding) => {
    if (kind === 'certificate-unknown') shared.unknown.add(certificateId);
  };
  return { registry, issuer, ownerTag, graceMs, dryRun: false, now: () => shared.clock.now, report };
}

/** Brings the shared state to where a scenario starts, without anybody watching. */
function prepare(start: Start, shared: Shared): void {
  const { rows, cloud, kept } = shared;
  const hash = hashToken(firstToken);
  const row = { serial, tokenHash: hash, enrolledAt: 0, requestedAt: 0, state: 'enrolled' as const, attempt: 0 };
  rows.set(serial, row);
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
  if (start === 'registered') {
    certify('p', { active: true, attached: true });
    rows.set(serial, { ...row, ...live, certificateId: 'p' });
    kept.set(`${recipientIdOf(serial, hash)} p`, JSON.stringify(answer));
  }
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
    rows.set(serial, { ...row, attempt: 1, requestedAt: shared.clock.now, createIntents: { 1: lost } });
  }
}

export function openWorld(scenario: Scenario, sabotage: Sabotage = {}) {
  return (gate: Gate): World => {
    const shared = createShared(gate, sabotage);
    prepare(scenario.start, shared);
    const { rows, cloud, kept, delivered, clock } = shared;
    const happen = {
      'lease-over': () => {
        clock.now += leaseMs + 1;
      },
      'grace-over': () => {
        clock.now += graceMs + 1;
      },
      'reply-gone': () => kept.clear(),
    };
    return {
      processes: scenario.jobs.map((job, index) => {
        const name = 'ABCD'[index] ?? '?';
        return { name, run: () => work(job, name, shared) };
      }),
      events: (scenario.events ?? []).map((name) => ({ name, times: 1, happen: happen[name] })),
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
          [...kept.keys()],
          delivered,
          clock.now,
        ]),
      check() {
        const working = [...cloud.certificates].filter(([, { active, policies }]) => active && policies.size > 0);
        if (working.length > 1)
          throw new Error(`${working.map(([id]) => id).join(' and ')} are both active, with a policy`);
      },
      finish: () => finish(scenario, shared),
    };
  };
}

/** What happens after every crash: the device asks again until it is answered, the operator repeats himself, one sweep. */
async function finish(scenario: Scenario, shared: Shared): Promise<void> {
  const { rows, cloud, delivered, clock } = shared;
  const operator = scenario.jobs.flatMap((job) => ('operator' in job ? [job.operator] : [])).at(-1);
  const before = delivered.map((sealed) => certificateIn(sealed)).filter((id) => id !== undefined);
  if (operator !== undefined) await work({ operator }, 'O', shared);
  if (operator === 'remove') {
    clock.now += 10 * graceMs;
    await work({ sweep: true }, 'S', shared);
    await work({ sweep: true }, 'T', shared);
    // a worker that was frozen meanwhile may make the thing again, which grants nothing
    if (rows.size + cloud.certificates.size > 0) throw new Error('something is left of a removed device');
    return;
  }
  if (operator === 'block') {
    if ([...cloud.certificates.values()].some(({ active }) => active))
      throw new Error('a blocked device has an active certificate');
    await work({ operator: 'unblock' }, 'U', shared);
  }
  const asked = scenario.jobs.find((job) => 'ask' in job);
  const flow = asked !== undefined && 'ask' in asked ? asked.flow : { key: 'rsa' as const };
  await askUntilAnswered(tokenOf(rows), flowOf(rows, flow), shared);
  clock.now += 10 * graceMs;
  await work({ sweep: true }, 'S', shared);
  judge(before, operator, scenario, shared);
}

/** A device keeps the key that its certificate is for. */
function flowOf(rows: Map<string, Device>, flow: Flow): Flow {
  const digest = rows.get(serial)?.keyDigest;
  return digest === undefined ? flow : { csrPem: digest.slice('digest of '.length) };
}

const tokenOf = (rows: Map<string, Device>) =>
  rows.get(serial)?.tokenHash === hashToken(secondToken) ? secondToken : firstToken;

async function askUntilAnswered(token: string, flow: Flow, shared: Shared): Promise<void> {
  for (let round = 1; round <= 6; round++) {
    const result = await provision(askOf(`again ${round}`, flow, token), contextOf(shared, `R${round}`)).catch(
      () => undefined,
    );
    if (result?.outcome === 'accepted') return;
    if (result?.outcome === 'rejected') throw new Error(`the device is refused: ${result.problem.code}`);
    shared.clock.now += leaseMs + 1;
  }
  throw new Error('the device gets no answer');
}

function judge(before: readonly string[], operator: string | undefined, scenario: Scenario, shared: Shared): void {
  const { rows, cloud, delivered } = shared;
  const row = rows.get(serial);
  const id = row?.certificateId;
  if (row?.state !== 'registered' || id === undefined) throw new Error('the device is not registered at the end');
  const found = cloud.certificates.get(id);
  if (!found?.active || found.policies.size === 0 || found.thingName !== serial)
    throw new Error('the certificate that the table names does not work');
  // what a worker makes that was frozen for a quarter of an hour between writing it down and doing it can be reported,
  // but not proven to be ours, where AWS made the key
  const frozen = scenario.events?.includes('grace-over');
  const left = [...cloud.certificates].filter(([each]) => each !== id && !(frozen && shared.unknown.has(each)));
  if (left.length > 0) throw new Error(`left over: ${left.map(([each]) => each).join(', ')}`);
  if (!cloud.things.has(serial)) throw new Error('there is no thing');
  if (certificateIn(delivered.at(-1) ?? '') !== id)
    throw new Error('the device holds another certificate than the table names');
  // a device keeps the certificate that it was given, unless its reply was lost or the operator reissued it
  const mayChange = operator !== undefined || scenario.events?.includes('reply-gone');
  const changed = before.filter((each) => each !== id);
  if (!mayChange && changed.length > 0)
    throw new Error(`${changed.join(', ')} was handed over, and does not work any more`);
  const secret = JSON.parse(delivered.at(-1) ?? '{}') as { sealedKey?: string };
  if (secret.sealedKey !== undefined && digestOf(secret.sealedKey.slice('key of '.length)) !== found.keyDigest)
    throw new Error('the private key that was handed over is not that of the certificate');
}

function certificateIn(sealed: string): string | undefined {
  const answer = JSON.parse(sealed || '{}') as { credentials?: { certificateId: string } };
  return answer.credentials?.certificateId;
}
