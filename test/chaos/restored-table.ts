import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import type { Credential } from '../../gateway-sim/device.ts';
import { block, remove } from '../../operator/decisions.ts';
import { reissue } from '../../operator/reissue.ts';
import { type Asker, createAsker } from './asking.ts';
import type { Figure } from './figures.ts';
import { judgePromises, type Party, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type Site, startSite } from './site.ts';
import { nothing } from './storm.ts';

const boundMs = 60_000;
const hourMs = 3_600_000;

/**
 * What happened to a device, named by what the restored table does not know. `nothing`: it had its certificate before the
 * copy. `vended`: it got its certificate after the copy, and asks again with its spent token. `silent`: likewise, and never
 * asks again. `asked`: it had its certificate before and asks again, since it never acknowledged it.
 */
const fates = ['nothing', 'asked', 'vended', 'silent', 'reissued', 'blocked', 'removed', 'added'] as const;
type Fate = (typeof fates)[number];

type Device = {
  readonly serial: string;
  readonly fate: Fate;
  readonly flow: Flow;
  readonly acknowledges: boolean;
  readonly askers: Asker[];
};

/**
 * The table is restored from an older copy, as docs/restoring.md says: the workers stop, the brokers go on, a sweep reports,
 * and the operator follows the cures.
 */
export async function restoredTable(
  { ofEach, random }: { ofEach: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers: 2 });
  const giveUpAt = { at: performance.now() + 2 * boundMs };
  const options = { giveUpAt: () => giveUpAt.at };
  const of = (...wanted: Fate[]) => devices.filter(({ fate }) => wanted.includes(fate));
  const devices = fates.flatMap((fate) =>
    Array.from({ length: ofEach }, (_, index): Device => {
      const flow = random.pick<Flow>([
        [20, 'rsa'],
        [40, 'ec'],
        [40, 'csr'],
      ]);
      const acknowledges = fate !== 'asked' && random.next() < 0.5;
      return { serial: `restored-${fate}-${index + 1}`, fate, flow, acknowledges, askers: [] };
    }),
  );
  /** Each of them asks with a token of its own. */
  const vend = (some: readonly Device[], credentials: readonly Credential[]) =>
    Promise.all(
      some.map(async ({ serial, flow, acknowledges, askers }) => {
        const credential = credentials.find((each) => each.serial === serial);
        if (credential === undefined) return;
        const asker = await createAsker(credential, flow);
        askers.push(asker);
        await asker.ask(site.gateway, { ...options, acknowledges });
      }),
    );
  const serialsOf = (some: readonly Device[]) => some.map(({ serial }) => serial);
  try {
    const early = of('nothing', 'asked', 'reissued', 'blocked', 'removed');
    await vend(early, await site.enrol(serialsOf(early)));
    const late = of('vended', 'silent');
    const lateCredentials = await site.enrol(serialsOf(late));
    await copyTable(site);

    await vend(late, lateCredentials);
    await vend(of('added'), await site.enrol(serialsOf(of('added'))));
    await vend(of('reissued'), await reissueAll(site, serialsOf(of('reissued'))));
    for (const serial of serialsOf(of('blocked'))) await block(serial, site.operator);
    for (const serial of serialsOf(of('removed'))) await remove(serial, 'with-thing', site.operator);

    for (const worker of site.workers) await worker.kill();
    await restoreTable(site);
    // a gateway that has seen more of the table finds out by itself
    const isSaid = random.next() < 0.5;
    if (isSaid) await site.command(['aws', 'table-restored']);
    giveUpAt.at = performance.now() + 2 * boundMs;
    // the brokers take requests before there are workers
    const again = of('vended', 'asked').map(({ askers }) => askers[0]?.ask(site.gateway, options));
    for (const worker of site.workers) await worker.start();
    await Promise.all(again);
    say(`the table was restored, and ${isSaid ? 'an operator says so' : 'nobody says so'}`);

    const found = await site.sweepLater(hourMs);
    const unreported = of('silent', 'reissued', 'added').filter(({ serial, fate, askers }) => {
      const certificateId = askers.at(-1)?.given.at(-1)?.certificateId;
      const finding = found.find((each) => each.certificateId === certificateId);
      // without a row, the sweep cannot tell whose certificate it is
      const isNamed = finding?.serial === serial && finding.cure !== undefined;
      return finding === undefined || !(isNamed || fate === 'added');
    });
    for (const { serial } of unreported)
      say(`  the sweep does not report the certificate of ${serial}, with its serial and a cure`);

    const toReissue = serialsOf(of('silent', 'reissued'));
    await vend(of('silent', 'reissued'), await reissueAll(site, toReissue));
    await vend(of('added'), await site.enrol(serialsOf(of('added'))));
    for (const serial of serialsOf(of('blocked'))) await block(serial, site.operator);
    for (const serial of serialsOf(of('removed'))) await remove(serial, 'with-thing', site.operator);

    sayFindings(await site.sweepLater(hourMs), say);
    const parties = devices.map(
      ({ serial, fate, askers }): Party => ({
        serial,
        askers,
        ends: fate === 'blocked' || fate === 'removed' ? 'dead' : 'serves',
        // its spent token vends again, and the first certificate is gone then
        spare: fate === 'vended' ? 1 : 0,
      }),
    );
    return [
      ...(await judgePromises('restored table', site, parties, say)),
      nothing('restored table: certificates that the sweep does not report', unreported.length),
    ];
  } finally {
    await site.close();
  }
}

async function reissueAll(site: Site, serials: readonly string[]): Promise<Credential[]> {
  const credentials: Credential[] = [];
  for (const serial of serials) {
    const onToken = (token: string) => void credentials.push({ serial, token });
    const { outcome } = await reissue(serial, { onToken, patience: { ms: 15_000 } }, site.operator);
    if (outcome !== 'reissued') throw new Error(`${serial} was not reissued: ${outcome}`);
  }
  return credentials;
}

const tableFolder = ({ folder }: Site) => join(folder, 'aws', 'aws-local', 'dynamodb');
const copyFolder = ({ folder }: Site) => join(folder, 'table-copy');

/** The files are whole while nothing writes to them. */
async function copyTable(site: Site): Promise<void> {
  await site.aws.kill();
  cpSync(tableFolder(site), copyFolder(site), { recursive: true });
  await site.aws.start();
}

/** AWS IoT Core keeps its state. */
async function restoreTable(site: Site): Promise<void> {
  await site.aws.kill();
  rmSync(tableFolder(site), { recursive: true });
  cpSync(copyFolder(site), tableFolder(site), { recursive: true });
  await site.aws.start();
}
