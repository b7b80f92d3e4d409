import { setTimeout as sleep } from 'node:timers/promises';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import { createAsker } from './asking.ts';
import type { Figure } from './figures.ts';
import { judgePromises, type Party, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type Part, type Site, startSite } from './site.ts';

const hourMs = 3_600_000;
const boundMs = 60_000;
const everyMs = 1500;

/**
 * The wall clock of the gateway's machine steps forward and back by hours while parts are killed and AWS throttles, fails or
 * is away, so that requests wait for a time that is suddenly hours off. The last step goes back, and the clock stays there.
 */
export async function clockSteps(
  { devices, steps, random }: { devices: number; steps: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers: 2 });
  try {
    const credentials = await site.enrol(Array.from({ length: devices }, (_, index) => `clock-${index + 1}`));
    let giveUpAt = Number.POSITIVE_INFINITY;
    const options = { giveUpAt: () => giveUpAt };
    const asking = credentials.map(async (credential): Promise<Party> => {
      const startMs = random.between(0, steps * everyMs);
      const flow = random.pick<Flow>([
        [20, 'rsa'],
        [40, 'ec'],
        [40, 'csr'],
      ]);
      const again = random.next() < 0.3;
      const asker = await createAsker(credential, flow);
      await sleep(startMs);
      await asker.ask(site.gateway, options);
      // as a device that lost its answer
      if (again) await asker.ask(site.gateway, options);
      await asker.acknowledge(site.gateway, options);
      return { serial: asker.serial, askers: [asker], ends: 'serves' };
    });
    for (let step = 1; step < steps; step++) await stepInTheMiddle(site, random, say);
    await stepBackWhileAwsIsAway(site, random, say);
    const backAt = performance.now();
    giveUpAt = backAt + boundMs;
    const parties = await Promise.all(asking);
    say(`all devices were served ${((performance.now() - backAt) / 1000).toFixed(1)} s after the last step`);
    // rows may have times of a clock that was hours ahead
    sayFindings(await site.sweepLater(24 * hourMs), say);
    return await judgePromises('clock steps', site, parties, say);
  } finally {
    await site.close();
  }
}

/** A step, and a kill shortly before or after it, while AWS throttles and fails. */
async function stepInTheMiddle(site: Site, random: Random, say: (line: string) => void): Promise<void> {
  await site.dial([
    { operation: '*', kind: 'throttle', probability: random.between(0.02, 0.1) },
    { operation: '*', kind: 'fail-before', probability: random.between(0.02, 0.1) },
    { operation: '*', kind: 'latency', ms: 100, probability: 0.5 },
  ]);
  await sleep(random.between(0.2, 0.6) * everyMs);
  const hours = (Math.round(random.between(10, 60)) / 10) * (random.next() < 0.5 ? -1 : 1);
  const part = random.pick<Part>([
    [1, site.broker],
    [1, site.redis],
    ...site.workers.map((worker) => [1, worker] as const),
  ]);
  const killsFirst = random.next() < 0.5;
  const pauseMs = random.between(0, 500);
  if (killsFirst) await part.kill();
  // without Redis there is nothing whose end could move
  if (killsFirst && part === site.redis) await part.start();
  await site.clock.step(hours * hourMs, site.redisUrl);
  await sleep(pauseMs);
  if (!killsFirst) await part.kill();
  if (!part.isRunning()) await part.start();
  say(`${hours > 0 ? 'forward' : 'back'} ${Math.abs(hours).toFixed(1)} h, ${part.name} killed`);
}

/** Requests wait for their next attempt, and a killed worker's request for another worker, when the clock goes back. */
async function stepBackWhileAwsIsAway(site: Site, random: Random, say: (line: string) => void): Promise<void> {
  const hours = Math.round(random.between(20, 60)) / 10;
  await site.dial([]);
  await site.aws.kill();
  await sleep(1500);
  await site.clock.step(-hours * hourMs, site.redisUrl);
  const [worker] = site.workers;
  await worker?.kill();
  await site.aws.start();
  await worker?.start();
  say(`back ${hours.toFixed(1)} h while AWS was away, and a worker killed`);
}
