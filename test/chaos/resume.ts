import { runDevice } from '../../gateway-sim/run-device.ts';
import { until } from '../support/network.ts';
import type { Figure } from './figures.ts';
import { type Part, type Site, startSite } from './site.ts';

const patience = { timeoutMs: 600_000, patienceMs: 300_000 };
const step = 'AttachPolicy';

/** How soon another worker takes over from a killed one, and how many kills one request survives. */
export async function resume(
  { trials, killsOfOneJob }: { trials: number; killsOfOneJob: number },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers: 2 });
  const [first, second] = site.workers as [Part, Part];
  try {
    let longest = 0;
    for (let trial = 1; trial <= trials; trial++) {
      await second.kill();
      const answered = ask(site, `resume-${trial}`);
      await untilInTheMiddle(site);
      await second.start();
      await first.kill();
      const killedAt = performance.now();
      await answered;
      const seconds = (performance.now() - killedAt) / 1000;
      say(`trial ${trial}: answered ${seconds.toFixed(1)} s after the kill`);
      longest = Math.max(longest, seconds);
      await first.start();
    }

    await second.kill();
    const answered = ask(site, 'resume-often');
    let survived = 0;
    for (; survived < killsOfOneJob; survived++) {
      await untilInTheMiddle(site);
      // every worker but the last stalls again
      if (survived + 1 < killsOfOneJob) await stallOnce(site);
      await first.kill();
      await first.start();
    }
    const outcome = await answered;
    return [
      {
        name: 'worker killed → its work resumed and answered',
        value: Number(longest.toFixed(1)),
        unit: 's, longest',
        goal: '<= 10',
        holds: longest <= 10,
      },
      {
        name: 'kills that one request survives',
        value: outcome.kind === 'accepted' ? survived : 0,
        unit: 'kills',
        goal: `>= ${killsOfOneJob}`,
        holds: outcome.kind === 'accepted' && survived >= killsOfOneJob,
      },
    ];
  } finally {
    await site.close();
  }
}

async function ask(site: Site, serial: string) {
  await stallOnce(site);
  const [credential] = await site.enrol([serial]);
  if (credential === undefined) throw new Error('not enrolled');
  return runDevice(site.gateway, credential, 'ec', patience);
}

/** One call stalls for as long as its worker lives, so the worker can be killed during it. */
function stallOnce(site: Site): Promise<void> {
  return site.dial([{ operation: step, kind: 'stall', ms: 600_000, times: 1 }]);
}

let seen = 0;

/** Resolves when a worker waits for the answer of the call that stalls. */
async function untilInTheMiddle(site: Site): Promise<void> {
  const stalled = async () => (await site.counts()).struck[`${step} stall`] ?? 0;
  await until(async () => (await stalled()) > seen, 60_000, `a worker calls ${step}`);
  seen = await stalled();
}
