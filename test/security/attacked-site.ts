import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { block } from '../../operator/decisions.ts';
import type { Random } from '../chaos/random.ts';
import { type Site, startSite } from '../chaos/site.ts';
import { askOnce } from '../support/device.ts';
import { until } from '../support/network.ts';
import type { Mob } from './attackers.ts';

const honestDevices = 4;

/** One device asks no faster than in this time, in milliseconds: at ten messages a second the broker answers `Throttled`. */
const paceMs = 125;

const warmUpMs = 8000;

/** Milliseconds of each request of the honest devices; a failed one counts until its failure. */
export type Honest = { readonly took: readonly number[]; readonly failed: number };

export type AttackedSite = Awaited<ReturnType<typeof startAttackedSite>>;

/** A site with honest devices that ask all the time, and attackers on a thread of their own. @param slots at the broker */
export async function startAttackedSite(random: Random, slots: number) {
  // as in the image: with one glibc arena for each thread, memory of a flood would never be returned
  const env = { LOG_LEVEL: 'error', MALLOC_ARENA_MAX: '2', CVM_MAX_CONNECTIONS: String(slots) };
  const site = await startSite({ workers: 1, env });
  try {
    return await withDevices(site, random, slots);
  } catch (error) {
    await site.close();
    throw error;
  }
}

async function withDevices(site: Site, random: Random, slots: number) {
  const { port, caPem } = site.gateway;
  const devices = await site.enrol(Array.from({ length: honestDevices }, (_, index) => `honest-${index}`));
  const [blocked] = await site.enrol(['blocked']);
  if (blocked === undefined || (await block(blocked.serial, site.operator)).outcome !== 'blocked')
    throw new Error('no device could be blocked');
  const ask = ({ serial, token }: { serial: string; token: string }) =>
    askOnce({ port, caPem }, serial, { token, key: 'ec' });
  for (const device of devices)
    await until(async () => (await ask(device).catch(() => undefined))?.status === 'accepted', 60_000, 'served once');

  async function honest(forMs: number): Promise<Honest> {
    const took: number[] = [];
    let failed = 0;
    const end = Date.now() + forMs;
    const served = devices.map(async (device) => {
      while (Date.now() < end) {
        const started = performance.now();
        const reply = await ask(device).catch(() => undefined);
        if (reply?.status !== 'accepted') failed++;
        const tookMs = performance.now() - started;
        took.push(tookMs);
        await sleep(Math.max(0, paceMs - tookMs));
      }
    });
    await Promise.all(served);
    return { took, failed };
  }

  return {
    site,
    /** of all processes but this one */
    pids: site.parts.map((part) => part.pid()).filter((pid) => pid !== undefined),
    /** Until V8 has compiled what is usual: the first requests take twice as long, and a p99 of calm would be theirs. */
    warmUp: () => honest(warmUpMs),
    honest,
    /** Resolves when all of them have begun. @returns the function that ends them, and says how often they tried */
    async attack({ attackers, floods, readyMs, forMs }: Pick<Mob, 'attackers' | 'floods' | 'readyMs' | 'forMs'>) {
      const workerData: Mob = {
        target: { port, ca: caPem },
        attackers,
        floods,
        seed: Math.floor(random.next() * 2 ** 31),
        victims: devices.map(({ serial }) => serial),
        blocked,
        slots,
        readyMs,
        forMs,
      };
      const thread = new Worker(new URL('./attackers.js', import.meta.url), { workerData });
      const gone = once(thread, 'exit');
      await once(thread, 'message');
      return async (): Promise<number> => {
        const said = once(thread, 'message');
        thread.postMessage('stop');
        const [acts] = (await said) as [number];
        await gone;
        return acts;
      };
    },
    close: () => site.close(),
  };
}
