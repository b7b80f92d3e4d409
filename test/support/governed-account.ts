import { createGovernor, type Governor } from '../../aws/governor.ts';
import { createOwnBuckets } from '../../aws/quota-buckets.ts';
import { createQuotas } from '../../aws-local/quotas.ts';
import { vendingCalls } from '../../issuer/vending-calls.ts';
import { defaultAwsQuotas } from '../../runtime/aws-quotas.ts';
import { createLog } from '../../runtime/log.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createVirtualTime, seeded } from './virtual-time.ts';

/** Devices that ask one gateway at once. `startAt`: milliseconds. */
export type Storm = { readonly devices: number; readonly startAt?: number };

const path = vendingCalls('csr', { group: false });
const slots = 64;

/**
 * Gateways of one account in virtual time: each with its own governor and buckets (of its Redis), against the buckets of the
 * stand-in. A call takes `callMs`, with jitter.
 */
export async function runStorms(
  storms: readonly Storm[],
  {
    seed,
    callMs = 60,
    foreignPerSecond = 0,
    heldUpUntil = 0,
    bunchedMs = 0,
  }: {
    seed: number;
    callMs?: number;
    /** calls of UpdateCertificate that another tool makes */
    foreignPerSecond?: number;
    /** before that, in milliseconds, the table answers nobody */
    heldUpUntil?: number;
    /** as on a machine that is too busy: in the first six seconds, calls and answers arrive only at multiples of this time */
    bunchedMs?: number;
  },
) {
  const time = createVirtualTime();
  const random = seeded(seed);
  const quotas = createQuotas('default', time.now);
  const calls = { made: 0, throttled: 0, thrownBack: 0 };
  /** when each gateway activated a certificate */
  const served: number[][] = storms.map(() => []);
  const order: number[][] = storms.map(() => []);
  const travel = async () => {
    await time.sleep((callMs / 2) * (0.8 + 0.6 * random() * random()));
    if (bunchedMs > 0 && time.now() < 6000) await time.sleep(bunchedMs - (time.now() % bunchedMs));
  };

  const gate = {
    async call<T>(operation: string, send: () => Promise<T>): Promise<T> {
      await travel();
      calls.made++;
      const taken = quotas.take(operation.replace('iot:', ''));
      if (!taken) calls.throttled++;
      await travel();
      if (!taken) throw new UpstreamThrottled(operation);
      return send();
    },
  };

  function openGateway(): Governor {
    return createGovernor({
      limits: defaultAwsQuotas,
      buckets: createOwnBuckets(defaultAwsQuotas, { now: time.now }),
      log: createLog('silent'),
      metrics: createMetrics().metrics,
      clock: time,
    });
  }

  async function vend(governor: Governor, gateway: number, device: number): Promise<void> {
    const { call } = governor.forDevices(gate);
    const [create, thing, policy, principal, activate] = path.map((operation) => () => call(operation, async () => {}));
    const permit = await governor.admit(path);
    order[gateway]?.push(device);
    const table = () => time.sleep(Math.max(callMs, heldUpUntil - time.now()));
    try {
      await table();
      await Promise.all([create?.(), thing?.()]);
      await table();
      await Promise.all([policy?.(), principal?.()]);
      await activate?.();
      served[gateway]?.push(time.now());
      await table();
    } finally {
      await permit?.end();
    }
  }

  /** As the queue does: a request that was throttled for too long is tried again later. */
  async function vendAtLast(governor: Governor, gateway: number, device: number): Promise<void> {
    try {
      await vend(governor, gateway, device);
    } catch (error) {
      if (!(error instanceof UpstreamThrottled)) throw error;
      calls.thrownBack++;
      await time.sleep(1000);
      await vendAtLast(governor, gateway, device);
    }
  }

  async function storm({ devices, startAt = 0 }: Storm, gateway: number): Promise<void> {
    const governor = openGateway();
    await time.sleep(startAt);
    let next = 0;
    const slot = async () => {
      while (next < devices) await vendAtLast(governor, gateway, next++);
    };
    await Promise.all(Array.from({ length: slots }, slot));
  }

  let over = false;
  async function foreign(): Promise<void> {
    while (!over && foreignPerSecond > 0) {
      await time.sleep(1000 / foreignPerSecond);
      quotas.take('UpdateCertificate');
    }
  }
  const all = Promise.all(storms.map(storm)).finally(() => {
    over = true;
  });
  await time.until(Promise.all([all, foreign()]));
  return { served, order, throttledShare: calls.throttled / calls.made, thrownBack: calls.thrownBack };
}

/** Of what the scarcest quota allows, from the first activation to the last: as the benchmark measures it. */
export function efficiencyOf(served: readonly (readonly number[])[]): number {
  const all = served.flat();
  return all.length / (((Math.max(...all) - Math.min(...all)) / 1000) * defaultQuota);
}

const defaultQuota = defaultAwsQuotas.UpdateCertificate ?? 0;

/** How many devices each gateway served from one time to another, in milliseconds. */
export const servedBetween = (served: readonly (readonly number[])[], from: number, to: number): readonly number[] =>
  served.map((times) => times.filter((at) => at >= from && at < to).length);

/** Jain's index: 1 where all have the same, 1/n where one has all. */
export function fairnessOf(shares: readonly number[]): number {
  const sum = shares.reduce((total, each) => total + each, 0);
  return sum ** 2 / (shares.length * shares.reduce((total, each) => total + each ** 2, 0));
}
