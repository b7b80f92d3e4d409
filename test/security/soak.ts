import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { within } from '../../runtime/deadline.ts';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';

const mib = 2 ** 20;

/** Connects, requests and refusals for some time; afterwards everything must be as before. */
export async function soak(
  { seconds, random }: { seconds: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const gateway = await startGateway({
    logLevel: 'silent',
    tokenAttempts: { serialSeconds: 2, perSerial: 1000, pauseSeconds: 0 },
  });
  const redis = new Redis(gateway.redis.url);
  try {
    const known: { serial: string; token: string }[] = [];
    for (let index = 0; index < 20; index++) known.push(await gateway.enrolOnRoster(`soak-${index}`));
    const act = () =>
      one(gateway, known[Math.floor(random.next() * known.length)] as { serial: string; token: string }, random);
    for (let warmUp = 0; warmUp < 400; warmUp++) await act().catch(() => {});
    const before = await state(redis);
    let [acts, failed] = [0, 0];
    const end = Date.now() + seconds * 1000;
    const workers = Array.from({ length: 16 }, async () => {
      while (Date.now() < end) {
        acts++;
        await within(10_000, 'a connection', act()).catch(() => failed++);
      }
    });
    await Promise.all(workers);
    say(`${acts} connections, ${failed} of them cut`);
    // answers and token attempts expire after a while; here they are deleted at once
    const after = await state(redis);
    const grown = after.heap - before.heap;
    return [
      {
        name: `heap after ${acts} connections in ${seconds} s`,
        value: `${(grown / mib).toFixed(1)} MiB more`,
        goal: '< 16 MiB more',
        holds: grown < 16 * mib,
      },
      {
        name: 'sockets, timers and other handles',
        value: `${before.handles} before, ${after.handles} after`,
        goal: 'no more, but for HTTP connections that are kept alive',
        holds: after.handles <= before.handles + 10,
      },
      {
        name: 'keys in Redis that stay',
        value: `${before.keys} before, ${after.keys} after`,
        goal: 'no more',
        holds: after.keys <= before.keys,
      },
    ];
  } finally {
    redis.disconnect();
    await gateway.close();
  }
}

/** One action of a connection. */
async function one(
  gateway: Gateway,
  { serial, token }: { serial: string; token: string },
  random: Random,
): Promise<void> {
  const dice = random.next();
  if (dice < 0.4) await askOnce(gateway.broker, serial, { token, key: 'ec' }, { subscribe: dice < 0.2 });
  else if (dice < 0.6) await askOnce(gateway.broker, serial, { token: `wrong-${random.next()}-0123456789` });
  else if (dice < 0.7) await askOnce(gateway.broker, serial, 'no JSON');
  else {
    const device = await connectDevice(gateway.broker);
    if (dice < 0.8) await device.client.subscribeAsync('#', { qos: 1 }).catch(() => {});
    else if (dice < 0.9) device.client.publish('cvm/elsewhere', 'x', { qos: 1 });
    // closed before its answer
    else device.client.publish(requestTopic(serial), JSON.stringify({ token }), { qos: 1 });
    device.client.end(true);
  }
}

async function state(redis: Redis) {
  await sleep(3000);
  globalThis.gc?.();
  await sleep(100);
  globalThis.gc?.();
  let keys = 0;
  for (const key of await redis.keys('*')) if ((await redis.pttl(key)) < 0) keys++;
  return { heap: process.memoryUsage().heapUsed, handles: process.getActiveResourcesInfo().length, keys };
}
