import { setTimeout as sleep } from 'node:timers/promises';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import type { Stored } from '../../gateway-sim/device.ts';
import { runDevice } from '../../gateway-sim/run-device.ts';
import type { Figure } from './figures.ts';
import type { Random } from './random.ts';
import { type Part, type PartName, type Site, startSite } from './site.ts';
import { judge } from './verdict.ts';

export type StormOptions = {
  readonly devices: number;
  readonly kills: number;
  readonly random: Random;
  say(line: string): void;
};

/** Timeouts of the devices, in milliseconds: short ones, since a test must end. */
const patience = { timeoutMs: 300_000, patienceMs: 20_000, maxPauseMs: 3000 };
const killEveryMs = 1000;

/**
 * Real processes, killed and started again at random, while AWS fails in every way that can be dialled. At the end, after
 * one sweep, everything must be as if nothing had happened.
 */
export async function storm({ devices, kills, random, say }: StormOptions): Promise<Figure[]> {
  const startedAt = Date.now();
  const site = await startSite({ workers: 2 });
  try {
    const serials = Array.from({ length: devices }, (_, index) => `storm-${index + 1}`);
    const stored = new Map<string, Stored>();
    const outcomes: Record<string, number> = {};
    const asking = (await site.enrol(serials)).map(async (credential) => {
      // at every moment some device is in the middle of its request
      await sleep(random.between(0, kills * killEveryMs));
      const flow = random.pick<Flow>([
        [15, 'rsa'],
        [45, 'ec'],
        [40, 'csr'],
      ]);
      const outcome = await runDevice(site.gateway, credential, flow, {
        ...patience,
        store: (given) => stored.set(given.serial, given),
      });
      const name = outcome.kind === 'rejected' ? `rejected ${outcome.errorCode}` : outcome.kind;
      outcomes[name] = (outcomes[name] ?? 0) + 1;
    });
    const killed = await killAtRandom(site, kills, random, say);
    say('all parts are up, and AWS works again; waiting for the last devices');
    await Promise.all(asking);
    say(`devices: ${JSON.stringify(outcomes)}`);
    // the sweep leaves younger rows alone
    await sleep(6000);
    const swept = await site.sweep(['--grace', '5s', '--rate', '100']);
    say(`sweep: ${swept.stdout.trim() || swept.stderr}`);
    const verdict = await judge(site, serials, stored);
    for (const note of verdict.notes) say(`  ${note}`);
    // a short run need not reach every part and every kind of fault
    const many = kills >= 40;
    const seconds = Math.round((Date.now() - startedAt) / 1000);
    return [
      figure('devices', devices, 'devices', '>= 1', devices >= 1),
      ...Object.entries(killed.byPart).map(([part, count]) =>
        figure(`kills of ${part}`, count, 'kills', many ? '>= 1' : 'any', !many || count >= 1),
      ),
      figure('kills', kills, 'kills', `${kills}`, true),
      ...Object.entries(killed.faults).map(([kind, count]) =>
        figure(`faults: ${kind}`, count, 'calls', many ? '>= 1' : 'any', !many || count >= 1),
      ),
      nothing('lost devices', verdict.lost),
      nothing('duplicates', verdict.duplicates),
      nothing('orphans after one sweep', verdict.orphans),
      nothing('devices whose certificate is not the working one of the table', verdict.broken),
      nothing('things too many or too few', verdict.things),
      nothing('stuck in Redis', verdict.stuck),
      figure('time', seconds, 's', 'bounded', true),
    ];
  } finally {
    await site.close();
  }
}

/** Kills parts of a site and starts them again, while AWS fails; at the end all is up, and AWS works. */
export async function killAtRandom(site: Site, kills: number, random: Random, say: (line: string) => void) {
  const byPart: Record<PartName, number> = { redis: 0, aws: 0, broker: 0, worker: 0 };
  const faults: Record<string, number> = { throttle: 0, stall: 0, 'fail-before': 0, 'act-and-lose-answer': 0 };
  const count = async () => {
    for (const [name, times] of Object.entries((await site.counts()).struck)) {
      const kind = name.slice(name.lastIndexOf(' ') + 1);
      faults[kind] = (faults[kind] ?? 0) + times;
    }
  };
  await site.dial(badWeather(random));
  for (let kill = 1; kill <= kills; kill++) {
    await sleep(random.between(0.3, 1) * killEveryMs);
    const part = random.pick<Part>([
      ...site.workers.map((worker) => [20, worker] as const),
      [25, site.broker],
      [20, site.redis],
      [15, site.aws],
    ]);
    if (part.name === 'aws') await count();
    await part.kill();
    byPart[part.name]++;
    await sleep(random.between(0, 500));
    await part.start();
    if (part.name === 'aws' || kill % 5 === 0) await site.dial(badWeather(random));
    if (kill % 20 === 0) say(`${kill} kills`);
  }
  await count();
  await site.dial([]);
  return { byPart, faults };
}

/** The faults of AWS, each with its own probability. */
function badWeather(random: Random): object[] {
  const some = (most: number) => random.between(most / 3, most);
  return [
    { operation: '*', kind: 'throttle', probability: some(0.06) },
    { operation: '*', kind: 'fail-before', probability: some(0.03) },
    { operation: '*', kind: 'act-and-lose-answer', probability: some(0.03) },
    { operation: 'CreateCertificateFromCsr', kind: 'act-and-lose-answer', probability: some(0.15) },
    { operation: 'CreateKeysAndCertificate', kind: 'act-and-lose-answer', probability: some(0.15) },
    { operation: '*', kind: 'stall', ms: 3000, probability: some(0.02) },
    { operation: '*', kind: 'latency', ms: 50, probability: 0.3 },
  ];
}

function figure(name: string, value: number, unit: string, goal: string, holds: boolean): Figure {
  return { name, value, unit, goal, holds };
}

export function nothing(name: string, value: number): Figure {
  return figure(name, value, '', '0', value === 0);
}
