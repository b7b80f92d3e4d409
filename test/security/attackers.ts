import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { seeded } from '../chaos/random.ts';
import { type Attack, attacks, type Target } from './attacks.ts';
import { type Blocked, type FloodName, floods } from './floods.ts';

/**
 * The attackers run on a thread of their own: on one thread with the honest devices, the measured times would include
 * the attackers' own computing.
 */
export type Mob = {
  readonly target: Target;
  /** that try once and again, of all kinds */
  readonly attackers: number;
  /** that go on */
  readonly floods: readonly FloodName[];
  readonly seed: number;
  /** serials */
  readonly victims: readonly string[];
  /** whose token is right, and can get no certificate */
  readonly blocked: Blocked;
  /** at the broker */
  readonly slots: number;
  /** It begins after that also without those that are not ready. */
  readonly readyMs: number;
  /** They stop by themselves after that. */
  readonly forMs: number;
};

/** Attacks until told to stop, then reports the number of attempts. Says `ready` when all have begun. */
async function run({
  target,
  attackers,
  floods: names,
  seed,
  victims,
  blocked,
  slots,
  readyMs,
  forMs,
}: Mob): Promise<number> {
  const random = seeded(seed);
  let [over, acts] = [false, 0];
  const stop = () => {
    over = true;
  };
  parentPort?.once('message', stop);
  setTimeout(stop, forMs).unref();
  const mobbing = Array.from({ length: attackers }, async (_, index) => {
    const from = `127.0.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`;
    const attack = attacks[index % attacks.length] as Attack;
    await sleep(random.next() * 1000);
    while (!over) {
      acts++;
      await attack(target, from, victims[index % victims.length] ?? '').catch(() => {});
      await sleep(500 + random.next() * 1000);
    }
  });
  const context = { target, blocked, slots, isOver: () => over, count: () => void acts++ };
  const begun = names.map((name) => floods[name](context));
  await Promise.race([Promise.all(begun.map(({ ready }) => ready)), sleep(readyMs)]);
  parentPort?.postMessage('ready');
  await Promise.all(begun.map(({ ended }) => ended));
  while (!over) await sleep(100);
  // an attempt that is under way may wait for many seconds until it is cut
  await Promise.race([Promise.all(mobbing), sleep(2000)]);
  return acts;
}

if (parentPort !== null) {
  parentPort.postMessage(await run(workerData as Mob));
  // sockets that still close must not keep the thread
  process.exit();
}
