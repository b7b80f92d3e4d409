import { type ChildProcess, spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Observation } from './observation.ts';

/** A program that ended without its certificate is started again after so long, as a device that restarts. Milliseconds. */
const restartMs = 1000;

/** A program that ends at once each time is not started for ever. */
const mostStarts = 20;

/** Of the end of what it wrote, in characters. */
const keptOutput = 2000;

/**
 * A process in the group of the program waits for a line on descriptor 3. When that is closed without one, `cvm` has ended without a chance
 * to do anything (SIGKILL), and the whole group is killed: a program that tries for ever would stay behind.
 */
const guarded = '{ read -r over <&3 || kill -9 0; } >/dev/null 2>&1 & exec 3<&-; exec sh -c "$1"';

/**
 * Runs the program of a device for one case. It is started again when it ended with a status other than 0, and after `powerCut`.
 * @param secrets are left out of what is kept of its output
 */
export function startDeviceProgram(
  command: string,
  {
    env,
    folder,
    observation,
    restart,
    secrets,
  }: {
    readonly env: NodeJS.ProcessEnv;
    readonly folder: string;
    readonly observation: Observation;
    readonly restart: boolean;
    readonly secrets: readonly string[];
  },
) {
  let output = '';
  let child: ChildProcess | undefined;
  let stopped = false;
  let isCut = false;
  /** it ended, and is not started again */
  let over = false;

  async function run(): Promise<void> {
    for (let starts = 0; starts < mostStarts && !stopped; starts++) {
      if (starts > 0) await sleep(restartMs);
      if (stopped) return;
      const status = await runOnce();
      if (stopped) return;
      const wasCut = isCut;
      isCut = false;
      if (!wasCut) observation.note(0, { kind: 'program-ended', status });
      if (!wasCut && (status === 0 || !restart)) break;
    }
    over = true;
  }

  function runOnce(): Promise<number | undefined> {
    observation.note(0, { kind: 'program-started' });
    // in a group of its own: a shell that is killed leaves what it has started
    const started = spawn('sh', ['-c', guarded, 'sh', command], {
      cwd: folder,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    const ended = new Promise<number | undefined>((resolve) => {
      started.on('error', () => resolve(undefined));
      started.once('exit', (status) => resolve(status ?? undefined));
    });
    // where no file is left for them, it has no streams
    const guard = (started.stdio as (typeof started)['stdio'] | undefined)?.[3] as Writable | undefined;
    // its group may be killed
    guard?.on('error', () => {});
    started.once('exit', () => guard?.end('over\n'));
    child = started;
    for (const stream of [started.stdout, started.stderr])
      stream?.on('data', (text: Buffer) => {
        output = (output + text.toString()).slice(-2 * keptOutput);
      });
    return ended;
  }

  function kill(): void {
    const { pid } = child ?? {};
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // it has ended by itself
    }
  }

  const running = run();
  return {
    powerCut(): void {
      isCut = true;
      observation.note(0, { kind: 'program-killed' });
      kill();
    },
    over: () => over,
    /** What it wrote last, without the secrets. */
    output(): string {
      let text = output;
      for (const secret of secrets) text = text.replaceAll(secret, '…');
      return text.slice(-keptOutput);
    },
    async stop(): Promise<void> {
      stopped = true;
      kill();
      await running;
    },
  };
}

export type DeviceProgram = ReturnType<typeof startDeviceProgram>;
