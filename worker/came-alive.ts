import { type Connectivity, ConnectivityUnavailable } from '../issuer/connectivity.ts';
import { type CameAlive, isSince, lifeOf } from '../registry/came-alive.ts';
import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import { listedAtMost, type SilentDevice, type SilentReport } from '../registry/silent-devices.ts';
import type { Log } from '../runtime/log.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/**
 * Follows devices from their certificate to their first connection with it. For the hour after a vend, the worker that vended asks by itself, since
 * most devices connect within a minute; what it has in memory may be lost. From then on the sweep asks, which reads every row anyway: the older a
 * device is, the more seldom. Both ask within the share of the account's quotas that is left to tasks.
 */
export type CameAliveDeps = {
  readonly registry: Pick<Devices, 'find'> & CameAlive;
  readonly connectivity: Connectivity;
  readonly audit: Audit;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'devicesCameAlive'>;
  /** epoch milliseconds */
  now(): number;
};

const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];

/** Asks about one device, and notes the answer. @returns whether it has come alive by now @throws as `Connectivity` */
export async function lookAt(device: Device, deps: CameAliveDeps): Promise<'seen' | 'silent' | 'other'> {
  const { registry, connectivity, audit, log, metrics, now } = deps;
  const { serial, certificateId, issuedAt = 0 } = device;
  const found = await connectivity.of(serial);
  const seenAt = found !== 'never' && isSince(found.at, issuedAt) ? found.at : undefined;
  if (!(await registry.noteLook(device, { lookedAt: now(), seenAt }))) return 'other';
  if (seenAt === undefined || certificateId === undefined) return 'silent';
  metrics.devicesCameAlive.inc();
  audit.record('came-alive', { serial, certificateId });
  log.info({ serial, certificateId, afterSeconds: Math.round((seenAt - issuedAt) / 1000) }, 'came alive');
  return 'seen';
}

/** After a vend, in milliseconds; and how many devices are followed at once. */
const usualTimes = { afterMs: [minute, 5 * minute, 15 * minute, hour], pollMs: 5000, atMost: 10_000 };

export type FollowTimes = Partial<typeof usualTimes>;

export type ArrivalFollower = ReturnType<typeof startCameAliveFollower>;

/** Follows the devices that this worker vends for. It never fails: what it misses, the sweep finds. */
export function startCameAliveFollower(deps: CameAliveDeps, times: FollowTimes = {}) {
  const { afterMs, pollMs, atMost } = { ...usualTimes, ...times };
  const { registry, log, now } = deps;
  const due = new Map<string, { readonly at: number; readonly asked: number }>();
  let closed = false;
  let running: Promise<void> = Promise.resolve();

  function plan(serial: string, asked: number): void {
    const wait = afterMs[asked];
    due.delete(serial);
    if (wait === undefined) return;
    due.set(serial, { at: now() + wait - (asked === 0 ? 0 : (afterMs[asked - 1] ?? 0)), asked });
    const oldest = due.size > atMost ? due.keys().next().value : undefined;
    if (oldest !== undefined) due.delete(oldest);
  }

  async function ask(serial: string, asked: number): Promise<void> {
    const device = await registry.find(serial);
    const life = device === undefined ? undefined : lifeOf(device);
    if (device === undefined || life === undefined || life === 'seen') due.delete(serial);
    else if ((await lookAt(device, deps)) === 'silent') plan(serial, asked + 1);
    else due.delete(serial);
  }

  async function askAll(): Promise<void> {
    for (const [serial, { at, asked }] of [...due]) {
      if (closed) return;
      if (at > now()) continue;
      try {
        await ask(serial, asked);
      } catch (err) {
        // the sweep says once what is wrong, and asks again
        due.delete(serial);
        log.debug({ err, serial }, 'whether the device came alive cannot be asked now');
      }
    }
  }

  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    running = askAll().finally(() => {
      busy = false;
    });
  }, pollMs);
  return {
    name: 'arrival follower',
    /** a certificate of the device went live a moment ago */
    follow: (serial: string): void => plan(serial, 0),
    async close() {
      closed = true;
      clearInterval(timer);
      await running;
    },
  };
}

/** A sweep asks about no more devices than this: with two calls a second, that takes a quarter of an hour. */
const askedAtMost = 2000;

/** How long after the last look a device is due again. It doubles with its age, from an hour to a day. */
export const pauseMs = (ageMs: number): number => Math.min(Math.max(ageMs, hour), day);

/** Collects, while a sweep reads the table, the devices that have not come alive, and asks about those that are due. */
export function createCameAliveReview(deps: CameAliveDeps, most = askedAtMost) {
  const { now, log } = deps;
  let [silent, unasked] = [0, 0];
  const oldest: SilentDevice[] = [];
  const due: Device[] = [];

  function keep(device: Device): void {
    silent++;
    const { serial, issuedAt = 0, site } = device;
    oldest.push({ serial, issuedAt, ...(site === undefined ? {} : { site }) });
    if (oldest.length >= 2 * listedAtMost) trim();
  }

  function trim(): void {
    oldest.sort((a, b) => a.issuedAt - b.issuedAt);
    oldest.length = Math.min(oldest.length, listedAtMost);
  }

  const lastLook = ({ lookedAt = 0 }: Device) => lookedAt;

  function trimDue(): void {
    due.sort((a, b) => lastLook(a) - lastLook(b));
    due.length = Math.min(due.length, most);
  }

  return {
    /** Called for each row. */
    look(device: Device): void {
      const life = lifeOf(device);
      if (life === undefined || life === 'seen') return;
      if (life === 'silent') keep(device);
      else unasked++;
      const { issuedAt = 0, lookedAt = 0 } = device;
      if (life === 'silent' && now() - lookedAt < pauseMs(now() - issuedAt)) return;
      due.push(lean(device));
      if (due.length >= 2 * most) trimDue();
    },
    /** Asks, and says what is left. @param stopped checked between two devices */
    async finish(stopped: () => boolean): Promise<SilentReport> {
      trimDue();
      const seen = new Set<string>();
      let reason: string | undefined;
      for (const device of due) {
        if (stopped()) break;
        try {
          const found = await lookAt(device, deps);
          if (found !== 'silent') seen.add(device.serial);
          if (lifeOf(device) === 'unasked') {
            unasked--;
            if (found === 'silent') keep(device);
          } else if (found !== 'silent') silent--;
        } catch (error) {
          // the next sweep asks again: nothing else of it depends on this
          if (error instanceof ConnectivityUnavailable) reason = `${error.message}: ${error.cure}`;
          log.info(reason === undefined ? { err: error } : { reason }, 'whether devices came alive is not known');
          break;
        }
      }
      trim();
      return { at: now(), count: silent, unasked, reason, oldest: oldest.filter(({ serial }) => !seen.has(serial)) };
    },
  };
}

/** Without the kept reply, which is as large as all the rest. */
function lean({ serial, state, certificateId, issuedAt, seenAt, lookedAt, site }: Device): Device {
  const known = { serial, state, certificateId, issuedAt, seenAt, lookedAt, site };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)) as unknown as Device;
}
