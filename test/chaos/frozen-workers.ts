import { setTimeout as sleep } from 'node:timers/promises';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import { block, remove } from '../../operator/decisions.ts';
import { reissue } from '../../operator/reissue.ts';
import { hashToken } from '../../protocol/token.ts';
import { usualLeaseMs } from '../../registry/lease.ts';
import { type Asker, createAsker } from './asking.ts';
import type { Figure } from './figures.ts';
import { type FreezePoint, freezeSteps, setFreezePoint, untilFrozen } from './freezer.ts';
import { judgePromises, type Party, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type Site, startSite } from './site.ts';

/**
 * One device whose worker is frozen at a point while an operator acts. `renew`: the device is removed and enrolled again.
 * The worker goes on before the new token is used, while another worker is at it (frozen at `midway` meanwhile), or after it
 * has got its certificate.
 */
type Case = {
  readonly serial: string;
  readonly flow: Flow;
  readonly point: FreezePoint;
  readonly action: 'block' | 'reissue' | 'renew';
  readonly wakes: 'first' | 'midway' | 'last';
  readonly midway: FreezePoint;
};

const actions = ['block', 'reissue', 'renew'] as const;
const wakings = ['first', 'midway', 'last'] as const;
const atOnce = 14;
/** two workers for each device of a wave whose second worker is frozen as well, and two that go on */
const workers = atOnce + 6 + 2;
const frozenMs = 30_000;
const patienceMs = 60_000;
const hourMs = 3_600_000;

/** Every step with every action of the operator; the rest is drawn. */
function plan(random: Random): Case[] {
  const flows: [number, Flow][] = [
    [10, 'rsa'],
    [45, 'ec'],
    [45, 'csr'],
  ];
  const moment = () => (random.next() < 0.5 ? 'before' : 'after');
  const cases: Case[] = freezeSteps.flatMap((step, at) =>
    actions.map((action, index) => ({
      serial: `frozen-${step}-${action}`,
      flow: random.pick(flows),
      point: { step, moment: moment() },
      action,
      // each step meets each of them in one run
      wakes: wakings[(at + index) % wakings.length] as Case['wakes'],
      midway: { step: random.pick(freezeSteps.map((name) => [1, name] as const)), moment: moment() },
    })),
  );
  return random.shuffle(cases);
}

/**
 * Workers that are frozen (SIGSTOP) at each step of the issuance cycle while an operator blocks, reissues, or removes and
 * enrols the device again, and that go on (SIGCONT) when the decision stands.
 */
export async function frozenWorkers(
  { random, most }: { random: Random /** devices, at most */; most?: number },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers, programs: { worker: 'test/chaos/chaos-worker.js' } });
  try {
    const cases = plan(random).slice(0, most);
    const parties: Party[] = [];
    let missed = 0;
    for (let start = 0; start < cases.length; start += atOnce) {
      const wave = await runWave(site, cases.slice(start, start + atOnce), say);
      parties.push(...wave.parties);
      missed += wave.missed;
    }
    sayFindings(await site.sweepLater(hourMs), say);
    return [
      {
        name: 'frozen workers: points that were reached',
        value: cases.length - missed,
        unit: `of ${cases.length}`,
        goal: 'all',
        holds: missed === 0,
      },
      ...(await judgePromises('frozen workers', site, parties, say)),
    ];
  } finally {
    await site.close();
  }
}

type Frozen = Case & { readonly old: Asker; readonly pid: number | undefined; readonly asking: Promise<unknown> };

async function runWave(site: Site, cases: readonly Case[], say: (line: string) => void) {
  const giveUpAt = performance.now() + frozenMs + 2 * patienceMs;
  const options = { giveUpAt: () => giveUpAt };
  const credentials = await site.enrol(cases.map(({ serial }) => serial));
  const frozen: Frozen[] = await Promise.all(
    cases.map(async (each, index) => {
      const credential = credentials[index] ?? { serial: '', token: '' };
      const tokenHash = hashToken(credential.token);
      setFreezePoint(site.folder, tokenHash, each.point);
      const old = await createAsker(credential, each.flow);
      const asking = old.ask(site.gateway, { ...options, endsRefused: true });
      return { ...each, old, asking, pid: await untilFrozen(site.folder, tokenHash, frozenMs) };
    }),
  );
  const tokens = await decideAll(site, frozen);
  const parties = await Promise.all(
    frozen.map(async (each): Promise<Party> => {
      const { serial, old, action, asking, pid } = each;
      const wake = () => void (pid !== undefined && process.kill(pid, 'SIGCONT'));
      const token = tokens.get(serial);
      if (token === undefined) {
        wake();
        await asking;
        // a blocked device goes on asking
        await old.ask(site.gateway, { ...options, endsRefused: true });
        return { serial, askers: [old], ends: 'dead' };
      }
      const next = await createAsker({ serial, token }, each.flow);
      await useNewToken(site, each, next, wake, options);
      await asking;
      say(`${serial}: ${each.point.moment}, goes on ${each.wakes}, ${action} done`);
      return { serial, askers: [old, next], ends: 'serves' };
    }),
  );
  return { parties, missed: frozen.filter(({ pid }) => pid === undefined).length };
}

/** The operator's clock is past the lease of the frozen workers, so that no decision waits for them. */
async function decideAll(site: Site, frozen: readonly Case[]): Promise<Map<string, string>> {
  const later = { ...site.operator, now: () => Date.now() + usualLeaseMs };
  const tokens = new Map<string, string>();
  const outcomes = await Promise.all(
    frozen.map(async ({ serial, action }) => {
      const onToken = (token: string) => void tokens.set(serial, token);
      if (action === 'block') return (await block(serial, later)).outcome;
      if (action === 'reissue') return (await reissue(serial, { onToken }, later)).outcome;
      const removed = await remove(serial, 'with-thing', later);
      return removed.outcome === 'removed' ? removed.row : removed.outcome;
    }),
  );
  // the row of a device stays for as long as an intended certificate may appear: a sweep an hour later finishes the removal
  if (outcomes.includes('stays')) await site.sweepLater(hourMs);
  const renewed = frozen.filter(({ action }) => action === 'renew').map(({ serial }) => serial);
  for (const { serial, token } of await site.enrol(renewed)) tokens.set(serial, token);
  for (const [index, outcome] of outcomes.entries())
    if (!['blocked', 'reissued', 'gone', 'stays'].includes(outcome))
      throw new Error(`${frozen[index]?.serial}: the decision did not stand: ${outcome}`);
  return tokens;
}

async function useNewToken(
  site: Site,
  { wakes, midway }: Case,
  next: Asker,
  wake: () => void,
  options: { giveUpAt(): number },
): Promise<void> {
  const tokenHash = hashToken(next.token);
  if (wakes === 'first') wake();
  if (wakes === 'midway') setFreezePoint(site.folder, tokenHash, midway);
  if (wakes === 'first') await sleep(1500);
  const asking = next.ask(site.gateway, options);
  if (wakes === 'midway') {
    const pid = await untilFrozen(site.folder, tokenHash, frozenMs);
    wake();
    await sleep(1500);
    if (pid !== undefined) process.kill(pid, 'SIGCONT');
  }
  await asking;
  if (wakes === 'last') wake();
  await next.acknowledge(site.gateway, options);
}
