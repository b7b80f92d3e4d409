import cluster, { type Worker } from 'node:cluster';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { getSystemErrorName } from 'node:util';
import { defaultTokenAttemptLimits } from '../queue/token-attempts.ts';
import { within } from '../runtime/deadline.ts';
import { keepHealthFiles } from '../runtime/health-files.ts';
import { keepCounts, type MetricsSnapshot } from '../runtime/metrics.ts';
import type { Settings } from '../runtime/settings.ts';
import type { App } from './app.ts';

/** One of several broker processes that share a port: its number from 1, of how many. */
export type ProcessNumber = { readonly number: number; readonly of: number };

/**
 * Milliseconds. A process that ends is started again after each of `restartMs` in turn; one that then runs for `steadyMs` has all of
 * these tries again. One that did not beat for `lateMs` is frozen or blocked, which is a trouble; after `silentMs` it is killed.
 */
const usualTimes = {
  restartMs: [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] as readonly number[],
  steadyMs: 120_000,
  beatMs: 5000,
  lateMs: 12_000,
  silentMs: 30_000,
  closeMs: 7500,
  answerMs: 3000,
};

/** What the first process says to the others, and they to it. */
const [beat, close, reopenLog] = ['cvm: alive', 'cvm: close', 'cvm: reopen log'];
/** The first process asks for metrics under a number, and gets them with it. */
type MetricsQuestion = { readonly metricsQuestion: number };
type MetricsAnswer = { readonly metricsAnswer: number; readonly metrics: MetricsSnapshot };
let questions = 0;

/**
 * Starts brokers as processes of their own (node:cluster). This process accepts connections and gives them to the brokers in turn, so
 * that each gets as many; it reads none of their bytes. It keeps them running, and tells their health together.
 * @param env added to theirs
 * @returns when all of them listen
 */
export async function startBrokerProcesses(
  { settings, log, lifecycle, monitoring }: App,
  { program, count, env = {}, times: given = {} }: ProcessesOptions,
): Promise<{ readonly port: number }> {
  const times = { ...usualTimes, ...given };
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const running = new Map<number, Worker>();
  const silences = new Map<number, () => number>();
  let closing = false;

  const start = (number: number): Worker => {
    cluster.setupPrimary({ exec: program, args: ['broker', '--process', `${number}/${count}`] });
    const child = cluster.fork(env);
    // node:cluster writes to it, too, and a write to a process that was just killed fails: an error that nobody hears would end this process
    child.on('error', (err: unknown) =>
      log.debug({ process: number, err }, 'a broker process cannot be told something'),
    );
    running.set(number, child);
    const onSilent = () =>
      log.error({ process: number, pid: child.process.pid }, 'a broker process is frozen or blocked; killing it');
    silences.set(number, killWhenSilent(child, times, onSilent));
    return child;
  };

  async function keepRunning(number: number, first: Worker): Promise<void> {
    let child: Worker | Error = first;
    for (let [tries, since] = [0, performance.now()]; !closing; since = performance.now()) {
      const reason = child instanceof Error ? notStarted(child.message) : await endOf(child);
      running.delete(number);
      if (closing) return;
      if (performance.now() - since > times.steadyMs) tries = 0;
      const delay = times.restartMs[tries++];
      if (delay === undefined) return lifecycle.fail(lost(number, reason, times.restartMs.length));
      log.error({ process: number, reason, delay }, 'a broker process ended; its devices connect again. Starting it');
      await sleep(delay, undefined, { ref: false });
      if (closing) return;
      child = tryStart(number);
    }
  }

  /** @returns the error where the system cannot start a process, for want of memory, say */
  function tryStart(number: number): Worker | Error {
    try {
      return start(number);
    } catch (error) {
      return error as Error;
    }
  }

  lifecycle.onHangUp(() => {
    for (const child of running.values()) if (child.isConnected()) child.send(reopenLog);
  });
  lifecycle.add({
    name: 'broker processes',
    async close() {
      closing = true;
      const children = [...running.values()];
      const ends = Promise.all(children.map(endOf));
      for (const child of children) if (child.isConnected()) child.send(close);
      await Promise.race([ends, sleep(times.closeMs, undefined, { ref: false })]);
      for (const child of children) if (!child.isDead()) child.process.kill('SIGKILL');
      await ends;
    },
  });
  const looks = Array.from({ length: count }, (_, index) => () => {
    const file = join(settings.healthDir, `${partOf({ number: index + 1, of: count })}.trouble`);
    if (!closing && !running.has(index + 1))
      return `broker process ${index + 1} does not run, and is being started: see its lines in the log, "process":${index + 1}`;
    const silentFor = silences.get(index + 1)?.() ?? 0;
    if (!closing && silentFor > times.lateMs) return frozen(index + 1, silentFor, times.silentMs);
    return existsSync(file) ? readFileSync(file, 'utf8').trim() || undefined : undefined;
  });
  const checks = looks.map((look, index) => ({ name: `process-${index + 1}`, look }));
  const { healthDir: folder, site } = settings;
  monitoring.addHealth(lifecycle.add(keepHealthFiles({ folder, part: 'broker', checks, site, log })).report);
  const counts = keepCounts<Worker>();
  monitoring.addProcesses(async () => {
    const told = [...running.values()].map(async (child) => {
      const snapshot = await metricsOf(child, times.answerMs).catch(() => undefined);
      return [child, snapshot] as const;
    });
    return counts.complete(new Map(await Promise.all(told)));
  });

  // the first one alone: it makes the keys of a new gateway, and says what is wrong with the settings once
  const one = start(1);
  const port = await listening(one, 1);
  const others = Array.from({ length: count - 1 }, (_, index) => index + 2);
  const children = [one, ...others.map(start)];
  await Promise.all(children.slice(1).map((child, index) => listening(child, index + 2)));
  for (const [index, child] of children.entries()) void keepRunning(index + 1, child);
  log.info({ port, processes: count }, 'all broker processes are listening');
  return { port };
}

export type ProcessesOptions = {
  /** path of `cvm` */
  readonly program: string;
  readonly count: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly times?: Partial<typeof usualTimes>;
};

/** @throws when it does not answer in time, or ends */
async function metricsOf(child: Worker, ms: number): Promise<MetricsSnapshot> {
  const metricsQuestion = ++questions;
  let onMessage: (message: Partial<MetricsAnswer>) => void = () => {};
  const answered = new Promise<MetricsSnapshot>((resolve) => {
    onMessage = ({ metricsAnswer, metrics }) => {
      if (metricsAnswer === metricsQuestion && metrics !== undefined) resolve(metrics);
    };
    child.on('message', onMessage);
  });
  try {
    if (!child.isConnected()) throw new Error('it has ended');
    child.send({ metricsQuestion } satisfies MetricsQuestion);
    return await within(ms, 'metrics of a broker process', answered);
  } finally {
    child.off('message', onMessage);
  }
}

async function listening(child: Worker, number: number): Promise<number> {
  const ended = endOf(child).then((reason) => {
    throw new Error(`broker process ${number} could not start (${reason}): it has said why`);
  });
  ended.catch(() => {});
  const { port } = await Promise.race([happens<{ port: number }>(child, 'listening'), ended]);
  return port;
}

/** `once` of node:events would also end with an error of the process, which is not its end. */
const happens = <Told>(child: Worker, event: 'listening' | 'exit') =>
  new Promise<Told>((resolve) => child.once(event, resolve));

/** @returns why it ended, or could not be started: then it has no id, and nothing tells of its end */
async function endOf(child: Worker): Promise<string> {
  const { process: own } = child;
  if (own.pid === undefined) {
    // Node.js says why a moment later, if at all
    await setImmediate();
    return notStarted(own.exitCode === null ? undefined : getSystemErrorName(own.exitCode));
  }
  if (own.exitCode === null && own.signalCode === null) await happens(child, 'exit');
  return own.signalCode === null ? `it ended with status ${own.exitCode}` : `it was ended by signal ${own.signalCode}`;
}

const notStarted = (why = 'it gave no reason') => `the system could not start it: ${why}`;

/** @returns milliseconds since the process gave a sign */
function killWhenSilent(child: Worker, { beatMs, silentMs }: typeof usualTimes, onSilent: () => void): () => number {
  let heard = performance.now();
  const silentFor = () => performance.now() - heard;
  child.on('message', (message) => {
    if (message === beat) heard = performance.now();
  });
  const timer = setInterval(() => {
    if (silentFor() < silentMs) return;
    onSilent();
    child.process.kill('SIGKILL');
  }, beatMs);
  timer.unref();
  void endOf(child).then(() => clearInterval(timer));
  return silentFor;
}

const frozen = (number: number, silentFor: number, silentMs: number) =>
  `broker process ${number} is frozen or blocked: it gave no sign for ${Math.round(silentFor / 1000)} s, and its devices wait. After ${Math.round(silentMs / 1000)} s it is killed and started again`;

const lost = (number: number, reason: string, tries: number) =>
  new Error(
    `broker process ${number} ended again and again (${reason}; ${tries} starts in vain): see its lines in the log, "process":${number}; where it was killed by signal SIGKILL, the machine may be short of memory: use fewer processes`,
  );

/** The name of its health files. */
export const partOf = ({ number, of }: ProcessNumber): string => (of === 1 ? 'broker' : `broker-${number}`);

/** Makes of an app that of one process of several: with its number in the log, and its share of what is limited for all. */
export function asProcess(app: App, process: ProcessNumber): App {
  return { ...app, settings: { ...app.settings, ...sharesOf(app.settings, process), brokerProcess: process } };
}

/** Connections come to the processes in turn, so each has as many of all, and of one address. */
function sharesOf({ maxConnections, maxConnectionsPerAddress }: Settings, process: ProcessNumber) {
  return {
    maxConnections: shareOf(maxConnections, process),
    maxConnectionsPerAddress: shareOf(maxConnectionsPerAddress, process),
  };
}

export const shareOf = (limit: number, { of }: ProcessNumber): number => Math.ceil(limit / of);

/** What one process may let through of the attempts at tokens that are counted in it; the others are counted in Redis, for all. */
export const tokenAttemptShare = (process: ProcessNumber) => ({
  perSecond: shareOf(defaultTokenAttemptLimits.perSecond, process),
});

const isQuestion = (message: unknown): message is MetricsQuestion =>
  typeof message === 'object' && message !== null && 'metricsQuestion' in message;

/** Lets the first process know that this one runs, and end it. Without the first one, node:cluster ends it. */
export function followFirstProcess({ lifecycle, monitoring, log }: App, { beatMs } = usualTimes): void {
  // a write to it fails when it has just ended; this process ends a moment later, too
  process.on('error', (err: unknown) => log.debug({ err }, 'the first process cannot be told something'));
  const timer = setInterval(() => process.send?.(beat), beatMs);
  timer.unref();
  process.on('message', (message: unknown) => {
    if (message === close) lifecycle.stop();
    else if (message === reopenLog) lifecycle.hangUp();
    else if (isQuestion(message))
      monitoring
        .snapshot()
        .then((metrics) => process.send?.({ metricsAnswer: message.metricsQuestion, metrics } satisfies MetricsAnswer))
        .catch((err: unknown) => log.debug({ err }, 'metrics could not be told'));
  });
  // it must not keep a process up that has closed all else
  process.channel?.unref();
  lifecycle.add({ name: 'beat', close: async () => clearInterval(timer) });
}
