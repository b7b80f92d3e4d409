import { join } from 'node:path';
import type { Case } from './case.ts';
import type { Seen } from './observation.ts';
import type { Profile } from './profile.ts';
import { type CaseResult, type CaseRun, notPlayed, runCase } from './run-case.ts';
import type { Sheet } from './sheet.ts';

export type CertifyOptions = Omit<CaseRun, 'profile' | 'onSeen' | 'folder'> & {
  readonly cases: readonly Case[];
  /** folder for the state of programs */
  readonly folder: string;
  /** cases at a time, each with a port and a serial of its own: for a program only. 1: one after the other, with the one port and serial */
  readonly jobs: number;
  /** told before each case that is played; it begins when this is over, and the port is closed until then */
  onCase?(played: Case, number: number): void | Promise<void>;
  onSeen?(seen: Seen): void;
  onResult?(result: CaseResult, number: number): void;
};

/**
 * Plays cases with one device, and writes down what it did. The first one shows how the device speaks: cases that do not concern such a
 * device are skipped, and where it does not come at all, the others are not played.
 */
export async function certify(options: CertifyOptions): Promise<Sheet> {
  const { cases, jobs, signal } = options;
  const results: CaseResult[] = [];
  let profile: Profile | undefined;
  let absent = false;

  async function playOne(played: Case, index: number): Promise<void> {
    const skipped = whyNot(played);
    if (skipped === undefined) {
      await options.onCase?.(played, index + 1);
      const run = await runCase(played, runOf(options, played, profile));
      results[index] = run.result;
      profile ??= run.profile;
      absent ||= index === 0 && run.profile === undefined;
    } else results[index] = skipped;
    options.onResult?.(results[index], index + 1);
  }

  function whyNot(played: Case): CaseResult | undefined {
    if (signal.aborted) return notPlayed(played, 'not-run', 'interrupted');
    if (absent) return notPlayed(played, 'not-run', 'the device did not ask in the first case');
    if (played.needsProgram && options.command === undefined)
      return notPlayed(played, 'skipped', 'it needs --device-command: a program that can be killed');
    const skipped = profile && played.skip?.(profile);
    return skipped === undefined ? undefined : notPlayed(played, 'skipped', skipped);
  }

  const queue = [...cases.entries()];
  const next = async () => {
    for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) await playOne(entry[1], entry[0]);
  };
  const first = queue.shift();
  if (first !== undefined) await playOne(first[1], first[0]);
  await Promise.all(Array.from({ length: jobs }, next));
  return { serial: options.device.serial, ...(profile === undefined ? {} : { profile }), results };
}

function runOf(options: CertifyOptions, { name }: Case, profile: Profile | undefined): CaseRun {
  const { jobs, device, folder, onSeen, ...same } = options;
  const own = { ...same, folder: join(folder, name), profile, ...(onSeen === undefined ? {} : { onSeen }) };
  return jobs === 1
    ? { ...own, device }
    : { ...own, device: { ...device, serial: `${device.serial}-${name}` }, port: 0 };
}
