import type { KeyObject } from 'node:crypto';
import type { Behaviour } from './behaviour.ts';
import { type Credential, Device, type Stored } from './device.ts';
import type { DeviceKey } from './device-key.ts';
import { type Gateway, openTarget } from './link.ts';
import type { Outcome } from './outcome.ts';
import { createSeries, type Moment } from './series.ts';
import type { Usage } from './watched-processes.ts';
import { createWheel } from './wheel.ts';

/** A device as a run needs it. Its key was made in advance: that is work of the device's, and no load on the gateway. */
export type SimDevice = Credential & {
  readonly behaviour: Behaviour;
  readonly key?: DeviceKey;
  /** milliseconds from the start of the run */
  readonly startMs: number;
};

export type SimOptions = {
  readonly gateway: Gateway;
  /** in the order of their start */
  readonly devices: readonly SimDevice[];
  /** devices connected at the same time */
  readonly concurrency: number;
  /** for each device, in milliseconds */
  readonly timeoutMs: number;
  /** for the answer on one connection, in milliseconds */
  readonly patienceMs?: number | undefined;
  /** between two attempts, at most, in milliseconds */
  readonly maxPauseMs?: number | undefined;
  /** how many addresses of this machine they come from; 1 is a network behind one NAT address */
  readonly addresses?: number;
  readonly seed: number;
  /** of the CA that must have signed the certificates */
  readonly issuerKey?: KeyObject | undefined;
  readonly store?: ((stored: Stored) => void) | undefined;
  /** what the gateway's processes have used, where they are watched */
  readonly gatewayUsage?: (() => Usage) | undefined;
  /** ends the run early; devices that have not ended by then have no outcome */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: Progress) => void;
  /** garbage is collected before memory is read at its peak, where this is given */
  readonly collectGarbage?: (() => void) | undefined;
};

export type Progress = {
  readonly done: number;
  readonly accepted: number;
  readonly refused: number;
  readonly waiting: number;
  readonly open: number;
  /** why the last attempt that failed did */
  readonly lastFailure?: string;
};

export type Simulated = {
  readonly outcomes: readonly Outcome[];
  /** attempts that failed, also of devices that were served by a later one, by reason */
  readonly failedAttempts: Readonly<Record<string, number>>;
  readonly wallMs: number;
  readonly moments: readonly Moment[];
  /** when each accepted device ended, in milliseconds from the start: the first and the last */
  readonly drain: { readonly firstMs: number; readonly lastMs: number } | undefined;
  readonly cost: Cost;
  /** how much later than planned each device began, in milliseconds: the others had all places, or the simulator was busy */
  readonly lateMs: readonly number[];
};

/** What the run itself has cost, TLS with it. */
export type Cost = {
  readonly cpuMs: number;
  readonly connections: number;
  /** connections open at the moment at which most were */
  readonly openAtPeak: number;
  /** memory at that moment, above what it was before the first device */
  readonly rssBytesAtPeak: number;
};

export const usual = { patienceMs: 120_000, maxPauseMs: 30_000 } as const;

/** The words of an error may have a number in them that is another one each time. */
const mostReasons = 20;

/** So late may a device be called. */
const slotMs = 20;

/** Lets all devices ask the gateway's MQTT port for their certificates. */
export async function simulate(options: SimOptions): Promise<Simulated> {
  const { devices, signal, gatewayUsage, onProgress } = options;
  const start = performance.now();
  const now = () => performance.now() - start;
  const series = createSeries();
  const memory = watchMemory(options.collectGarbage);
  const cpu = process.cpuUsage();
  const run = startRun(options, now);
  const record = () => {
    const usage = gatewayUsage?.();
    const watched = usage === undefined ? {} : { gatewayCpuMs: usage.cpuMs, gatewayRssBytes: usage.rssBytes };
    const { accepted, refused, waiting, open } = run.progress();
    series.add({ at: now() / 1000, accepted, refused, waiting, open, ...watched });
  };
  await new Promise<void>((resolve) => {
    const end = () => {
      clearInterval(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const turn = () => {
      run.turn(now());
      memory.look(run.count.open, run.count.open === Math.min(devices.length, options.concurrency));
      if (series.wants(now() / 1000)) record();
      onProgress?.(run.progress());
      if (run.outcomes.length === devices.length) end();
    };
    const timer = setInterval(turn, slotMs);
    signal?.addEventListener('abort', end, { once: true });
    turn();
  });
  const outcomes = [...run.outcomes];
  record();
  run.abandon();
  const cpuMs = cpuMsSince(cpu) - memory.cpuMs();
  return {
    outcomes,
    failedAttempts: run.failedAttempts,
    wallMs: now(),
    moments: series.moments(),
    drain: run.drain(),
    cost: { cpuMs, connections: run.count.opened, ...memory.peak() },
    lateMs: run.lateMs,
  };
}

function startRun(options: SimOptions, now: () => number) {
  const { devices, concurrency, seed } = options;
  const wheel = createWheel<Device>(slotMs, 0);
  const count = { open: 0, waiting: 0, opened: 0 };
  const outcomes: Outcome[] = [];
  const running = new Set<Device>();
  const lateMs: number[] = [];
  const failedAttempts: Record<string, number> = {};
  let lastFailure: string | undefined;
  const tally = { accepted: 0, refused: 0, firstMs: 0, lastMs: 0 };
  let next = 0;
  const around = {
    ...{ wheel, count, now, timeoutMs: options.timeoutMs, issuerKey: options.issuerKey, store: options.store },
    target: openTarget(options.gateway, options.addresses ?? 1),
    patienceMs: options.patienceMs ?? usual.patienceMs,
    maxPauseMs: options.maxPauseMs ?? usual.maxPauseMs,
    failed(reason: string) {
      lastFailure = reason;
      const name =
        reason in failedAttempts || Object.keys(failedAttempts).length < mostReasons ? reason : 'other reasons';
      failedAttempts[name] = (failedAttempts[name] ?? 0) + 1;
    },
    ended(device: Device, outcome: Outcome) {
      running.delete(device);
      outcomes.push(outcome);
      if (outcome.kind === 'rejected') tally.refused++;
      if (outcome.kind !== 'accepted') return;
      tally.lastMs = now();
      if (tally.accepted++ === 0) tally.firstMs = tally.lastMs;
    },
  };
  return {
    count,
    outcomes,
    lateMs,
    failedAttempts,
    turn(time: number): void {
      wheel.turn(time);
      for (let device = devices[next]; device !== undefined && device.startMs <= time; device = devices[next]) {
        if (running.size >= concurrency) return;
        const own = new Device(next, device, device.behaviour, device.key, (seed * 31 + next) | 0, around);
        next++;
        running.add(own);
        lateMs.push(time - device.startMs);
        own.start();
      }
    },
    progress: (): Progress => ({
      ...{ done: outcomes.length, accepted: tally.accepted, refused: tally.refused },
      ...{ waiting: count.waiting, open: count.open },
      ...(lastFailure === undefined ? {} : { lastFailure }),
    }),
    drain: () => (tally.accepted === 0 ? undefined : { firstMs: tally.firstMs, lastMs: tally.lastMs }),
    abandon(): void {
      for (const device of running) device.abandon();
    },
  };
}

/** Reads the memory when the number of open connections has grown by a fifth. What the reading costs is no cost of the run. */
function watchMemory(collectGarbage: (() => void) | undefined) {
  let cpuMs = 0;
  const read = () => {
    const start = process.cpuUsage();
    collectGarbage?.();
    const rss = process.memoryUsage.rss();
    cpuMs += cpuMsSince(start);
    return rss;
  };
  const before = read();
  let [openAtPeak, rssBytesAtPeak] = [0, 0];
  cpuMs = 0;
  return {
    look(open: number, isMost: boolean): void {
      if (open <= openAtPeak || (open < openAtPeak * 1.2 + 50 && !isMost)) return;
      openAtPeak = open;
      rssBytesAtPeak = read() - before;
    },
    cpuMs: () => cpuMs,
    peak: () => ({ openAtPeak, rssBytesAtPeak }),
  };
}

function cpuMsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}
