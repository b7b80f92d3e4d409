import { setTimeout as sleep } from 'node:timers/promises';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import type { Credential } from '../../gateway-sim/device.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import type { Gateway } from '../../gateway-sim/link.ts';
import { hashToken } from '../../protocol/token.ts';
import { until } from '../support/network.ts';
import { type Asker, type AskOptions, createAsker } from './asking.ts';
import type { Figure } from './figures.ts';
import { type FreezePoint, freezeSteps, setFreezePoint, untilFrozen } from './freezer.ts';
import { judgePromises, type Party, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type GatewayParts, type Part, type Site, startSite } from './site.ts';
import { nothing } from './storm.ts';

/**
 * How a device uses the two gateways of its table. `at-once`: it asks at both at the same time. `alternates`: it asks at one,
 * at the other, and at the first again, and each time forgets the answer. `frozen`: the worker of the first gateway is
 * frozen, the second serves the device, and the worker goes on. `killed`: parts of both gateways are killed meanwhile.
 */
type Way = 'at-once' | 'alternates' | 'frozen' | 'killed';
type Plan = { readonly serial: string; readonly way: Way; readonly flow: Flow; readonly first: 0 | 1 } & FreezePoint;

const workersEach = 4;
const hourMs = 3_600_000;
const boundMs = 60_000;
/** A frozen worker serves nobody, and each gateway must go on meanwhile. */
const mostFrozen = workersEach - 1;

function plan(devices: number, random: Random): Plan[] {
  const ways: Way[] = ['at-once', 'alternates', 'killed', 'alternates', 'at-once', 'killed'];
  return Array.from({ length: devices }, (_, index): Plan => {
    const way = index < 2 * mostFrozen ? 'frozen' : (ways[index % ways.length] as Way);
    return {
      serial: `two-${index + 1}-${way}`,
      way,
      flow: random.pick<Flow>([
        [20, 'rsa'],
        [40, 'ec'],
        [40, 'csr'],
      ]),
      first:
        way === 'frozen'
          ? ((index % 2) as 0 | 1)
          : random.pick<0 | 1>([
              [1, 0],
              [1, 1],
            ]),
      step: random.pick(freezeSteps.map((name) => [1, name] as const)),
      moment: random.next() < 0.5 ? 'before' : 'after',
    };
  });
}

/** Two gateways of one table, each with its own Redis: for a device they are one. */
export async function twoGateways(
  { devices, kills, random }: { devices: number; kills: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({
    workers: workersEach,
    gateways: 2,
    programs: { worker: 'test/chaos/chaos-worker.js' },
  });
  try {
    const plans = plan(devices, random);
    const credentials = await site.enrol(plans.map(({ serial }) => serial));
    let giveUpAt = Number.POSITIVE_INFINITY;
    const options = { giveUpAt: () => giveUpAt };
    const unheard: string[] = [];
    const use = async (each: Plan, index: number): Promise<Party> => {
      const credential = credentials[index] ?? { serial: '', token: '' };
      const askers = await useBoth(site, each, credential, options);
      // an acknowledgement at one gateway holds at the other
      const at = (gateway: 0 | 1) => partsOf(site, gateway).gateway;
      await acknowledge(site, askers[0] as Asker, at(each.first), options);
      const other = askers[1] as Asker;
      const before = other.refusals.length;
      await other.ask(at(each.first === 0 ? 1 : 0), { ...options, endsRefused: true });
      if (other.refusals[before] !== 'AlreadyProvisioned') unheard.push(each.serial);
      return { serial: each.serial, askers, ends: 'serves' };
    };
    const isKilled = ({ way }: Plan) => way === 'killed';
    const started = plans.map((each, index) => [each, index] as const);
    const quietly = Promise.all(started.filter(([each]) => !isKilled(each)).map((each) => use(...each)));
    giveUpAt = performance.now() + 2 * boundMs;
    const parties = await quietly;

    giveUpAt = Number.POSITIVE_INFINITY;
    const spreadMs = kills * 700;
    const stormy = started
      .filter(([each]) => isKilled(each))
      .map(async ([each, index]) => {
        await sleep(random.between(0, spreadMs));
        return use(each, index);
      });
    for (let kill = 1; kill <= kills; kill++) {
      await sleep(random.between(200, 700));
      const part = victim(site, random);
      await part.kill();
      await sleep(random.between(0, 500));
      await part.start();
    }
    giveUpAt = performance.now() + boundMs;
    parties.push(...(await Promise.all(stormy)));

    sayFindings(await site.sweepLater(hourMs), say);
    for (const serial of unheard) say(`  the other gateway does not know that ${serial} acknowledged`);
    return [
      ...(await judgePromises('two gateways', site, parties, say)),
      nothing('two gateways: acknowledgements that the other gateway does not know', unheard.length),
    ];
  } finally {
    await site.close();
  }
}

/** Until it has taken effect: a broker that does not know the token yet refuses it, and a worker may be frozen. */
function acknowledge(site: Site, asker: Asker, gateway: Gateway, options: AskOptions): Promise<void> {
  const takesEffect = async () => {
    await asker.acknowledge(gateway, options);
    await sleep(500);
    return (await site.registry.find(asker.serial))?.deliveredAt !== undefined;
  };
  return until(takesEffect, boundMs, `the acknowledgement of ${asker.serial} takes effect`).catch(() => {});
}

const partsOf = ({ gateways }: Site, index: 0 | 1): GatewayParts => gateways[index] as GatewayParts;

function victim({ gateways }: Site, random: Random): Part {
  const { redis, broker, workers } = random.pick(gateways.map((each) => [1, each] as const));
  return random.pick<Part>([[1, redis], [1, broker], ...workers.map((worker) => [0.5, worker] as const)]);
}

/** @returns what asked as this device, at the first gateway and at the other */
async function useBoth(
  site: Site,
  { way, flow, first, ...point }: Plan,
  credential: Credential,
  options: AskOptions,
): Promise<Asker[]> {
  const [here, there] = [partsOf(site, first).gateway, partsOf(site, first === 0 ? 1 : 0).gateway];
  const key = flow === 'csr' ? await makeDeviceKey(credential.serial) : undefined;
  const [one, other] = await Promise.all([createAsker(credential, flow, key), createAsker(credential, flow, key)]);
  if (way === 'at-once' || way === 'killed') {
    await Promise.all([one.ask(here, options), other.ask(there, options)]);
  } else if (way === 'alternates') {
    await one.ask(here, options);
    await other.ask(there, options);
    await one.ask(here, options);
  } else {
    const tokenHash = hashToken(credential.token);
    setFreezePoint(site.folder, tokenHash, point);
    const asking = one.ask(here, options);
    const pid = await untilFrozen(site.folder, tokenHash, 30_000);
    await other.ask(there, options);
    if (pid !== undefined) process.kill(pid, 'SIGCONT');
    await asking;
  }
  return [one, other];
}
