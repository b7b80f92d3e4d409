import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A device's serial is a crash point: the chaos worker and the chaos broker crash there, once. So the enrolled devices are
 * the whole plan of a run.
 */
export type CrashPoint = {
  /** the victim: the process that makes the call, or Redis */
  readonly victim: 'self' | 'redis';
  readonly at: 'worker' | 'broker';
  readonly step: string;
  readonly moment: 'before' | 'answer-lost' | 'after';
  readonly flow: 'rsa' | 'ec' | 'csr';
};

export const workerSteps = [
  ...['claim', 'record', 'finish', 'acknowledge'],
  ...['ensureThing', 'issue', 'attach', 'activate'],
  'deliver',
] as const;
export const brokerSteps = ['add', 'hear', 'acknowledge'] as const;
export const moments = ['before', 'answer-lost', 'after'] as const;

const prefix = 'crash';

export function serialOf({ victim, at, step, moment, flow }: CrashPoint): string {
  return [prefix, victim, at, step, moment, flow].join(':');
}

/** Carries out crash points for one process. `folder` is the site's folder. */
export function createCrasher(at: CrashPoint['at'], folder: string) {
  function due(
    serial: string | undefined,
    step: string,
    moment: CrashPoint['moment'],
  ): CrashPoint['victim'] | undefined {
    const [kind, victim, where, atStep, atMoment] = (serial ?? '').split(':');
    if (kind !== prefix || where !== at || atStep !== step || atMoment !== moment) return undefined;
    const mark = firedFile(folder, serial ?? '');
    if (existsSync(mark)) return undefined;
    writeFileSync(mark, '');
    return victim as CrashPoint['victim'];
  }

  function killRedis(): void {
    process.kill(Number(readFileSync(join(folder, 'redis', 'redis', 'redis.pid'), 'utf8')), 'SIGKILL');
  }

  const die = () => {
    process.kill(process.pid, 'SIGKILL');
    return new Promise<never>(() => {});
  };

  /** Makes one call; a crash may strike before, during or after it. */
  return async function cross<T>(serial: string | undefined, step: string, call: () => Promise<T> | T): Promise<T> {
    const before = due(serial, step, 'before');
    if (before === 'self') await die();
    if (before === 'redis') killRedis();
    const answer = await call();
    const lost = due(serial, step, 'answer-lost');
    if (lost === 'self') await die();
    if (lost === 'redis') {
      killRedis();
      throw new Error('the answer was lost');
    }
    const after = due(serial, step, 'after');
    if (after === 'self') setImmediate(die);
    if (after === 'redis') killRedis();
    return answer;
  };
}

export function firedFile(folder: string, serial: string): string {
  return join(folder, `fired-${serial}`);
}
