import { mkdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { derivePsk } from '../protocol/psk.ts';
import type { Case } from './case.ts';
import type { ServerCertificate } from './certificates.ts';
import { type DeviceProgram, startDeviceProgram } from './device-program.ts';
import { faultsOfHabit } from './habits.ts';
import { Observation, type Seen, type ShownCertificate, storyOf } from './observation.ts';
import { type Profile, profileOf } from './profile.ts';
import { startRelay } from './relay.ts';
import type { Finding } from './rules.ts';

/** The gateway behind all cases, as the cases need it. */
export type CertifyGateway = {
  readonly port: number;
  /** PEM */
  readonly ca: string;
  readonly caFile: string;
  /** a provisioning template that it has */
  readonly template: string;
  readonly certificates: Record<ShownCertificate, ServerCertificate>;
  /** a claim certificate that stands for every test device, with the files that it is in */
  readonly claim: ServerCertificate & { readonly certFile: string; readonly keyFile: string };
  /** Enrols the serial with this token, as new: without a certificate, whatever there was before. */
  enrolAnew(serial: string, token: string): Promise<void>;
  /** the public half of the key that signs the time, as hex of its point */
  readonly timeKey: string;
  /** signs with it, as the gateway does. `seconds`: of the epoch. @returns DER */
  signTime(nonce: string, seconds: number): Buffer;
  /** the certificate of the device in the table */
  certificateOf(serial: string): Promise<string | undefined>;
};

export type Outcome = 'passed' | 'advice' | 'failed' | 'skipped' | 'not-run';

export type CaseResult = {
  readonly name: string;
  readonly outcome: Outcome;
  readonly level: Case['level'];
  readonly plays: string;
  readonly wants: string;
  /** what the device did; of a case that was not played, why */
  readonly did: string;
  readonly seconds: number;
  readonly findings: readonly Finding[];
  /** the end of what its program wrote, where it failed */
  readonly output?: string;
};

export type CaseRun = {
  readonly gateway: CertifyGateway;
  readonly device: { readonly serial: string; readonly token: string };
  /** for the device: name or address of this machine */
  readonly host: string;
  /** address to listen on, and port; 0: any that is free */
  readonly listen: string;
  readonly port: number;
  /** clients are asked for their claim certificate */
  readonly withClaim?: boolean;
  /** program of the device; without one, somebody starts the device */
  readonly command?: string | undefined;
  /** environment of that program, beyond what the case says */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** empty folder for the state of the program; made here */
  readonly folder: string;
  /** milliseconds from the start of the program, or from the first connection */
  readonly timeoutMs: number;
  /** milliseconds that a device may take to connect for the first time, where somebody starts it */
  readonly firstConnectionMs: number;
  readonly profile: Profile | undefined;
  readonly signal: AbortSignal;
  onSeen?(seen: Seen): void;
};

/** How often is looked whether a case has ended, in milliseconds. */
const lookMs = 50;

/** A device that has its certificate, and does nothing for so long, has ended. Milliseconds; more than the pause of most before they try again. */
const quietMs = 15_000;

/** Plays one case, and judges what the device did. */
export async function runCase(
  played: Case,
  run: CaseRun,
): Promise<{ readonly result: CaseResult; readonly profile: Profile | undefined }> {
  const { gateway, device, profile } = run;
  await gateway.enrolAnew(device.serial, device.token);
  const begun = performance.now();
  const observation = new Observation(() => performance.now() - begun);
  const unlisten = run.onSeen === undefined ? undefined : observation.listen(run.onSeen);
  let program: DeviceProgram | undefined;
  const play = played.play({
    ...{ observation, powerCut: () => program?.powerCut() },
    signTime: (nonce, time) => gateway.signTime(nonce, time),
  });
  const relay = await startRelay({
    ...run,
    certificates: gateway.certificates,
    claim: run.withClaim ? gateway.claim : undefined,
    script: play,
    observation,
  });
  try {
    program = startProgram(played, run, relay.port, observation);
    await untilDone(play, run, observation, program);
    if (!run.signal.aborted) await sleep(played.lingerMs, undefined, { signal: run.signal }).catch(() => {});
  } finally {
    observation.end();
    await program?.stop();
    await relay.close();
    unlisten?.();
    if (program !== undefined) rmSync(run.folder, { recursive: true, force: true });
  }
  const certificateId = await gateway.certificateOf(device.serial);
  const own = profileOf(observation);
  const skipped = own && played.skip?.(own);
  const findings = [...play.judge({ observation, certificateId, profile }), ...faultsOfHabit(observation)];
  const result = resultOf(played, observation, skipped, run.signal.aborted ? undefined : findings);
  const output = result.outcome === 'failed' ? program?.output() : undefined;
  return { result: { ...result, ...(output ? { output } : {}) }, profile: own };
}

function startProgram(played: Case, run: CaseRun, port: number, observation: Observation): DeviceProgram | undefined {
  const { command, environment, device, host, gateway, folder } = run;
  if (command === undefined) return undefined;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const psk = derivePsk(device.serial, device.token).toString('hex');
  return startDeviceProgram(command, {
    env: {
      ...environment,
      CVM_HOST: host,
      CVM_PORT: String(port),
      CVM_CA: gateway.caFile,
      CVM_SERIAL: device.serial,
      CVM_TOKEN: device.token,
      CVM_PSK: psk,
      CVM_TIME_KEY: gateway.timeKey,
      CVM_TEMPLATE: gateway.template,
      ...(run.withClaim ? { CVM_CLAIM_CERT: gateway.claim.certFile, CVM_CLAIM_KEY: gateway.claim.keyFile } : {}),
      CVM_STATE: folder,
      CVM_CASE: played.name,
    },
    folder: process.cwd(),
    observation,
    restart: played.endsAtRefusal !== true,
    secrets: [device.token, psk],
  });
}

async function untilDone(
  play: { done(observation: Observation): boolean },
  { timeoutMs, firstConnectionMs, signal }: CaseRun,
  observation: Observation,
  program: DeviceProgram | undefined,
): Promise<void> {
  for (;;) {
    if (signal.aborted || play.done(observation) || program?.over()) return;
    const [first] = observation.all('opened');
    const begin = program === undefined ? first?.at : 0;
    if (begin === undefined ? observation.now > firstConnectionMs : observation.now - begin > timeoutMs) return;
    const accepted = observation.replies('accepted').at(-1);
    const last = observation.seen.at(-1);
    if (accepted !== undefined && last !== undefined && observation.now - last.at > quietMs) return;
    await sleep(lookMs);
  }
}

/** @param findings undefined where the case was interrupted */
function resultOf(
  played: Case,
  observation: Observation,
  skipped: string | undefined,
  findings: readonly Finding[] | undefined,
): CaseResult {
  const about = aboutOf(played);
  const seconds = Number((observation.now / 1000).toFixed(1));
  if (findings === undefined) return { ...about, outcome: 'not-run', did: 'interrupted', seconds, findings: [] };
  const isFailed = findings.some(({ level }) => level === 'mandatory');
  // the case did not come to its point; what the device did wrong all the same counts
  if (skipped !== undefined && !isFailed) return { ...about, outcome: 'skipped', did: skipped, seconds, findings };
  const outcome = isFailed ? 'failed' : findings.length > 0 ? 'advice' : 'passed';
  return { ...about, outcome, did: storyOf(observation.seen), seconds, findings };
}

const aboutOf = ({ name, level, plays, wants }: Case) => ({ name, level, plays, wants });

/** A case that was not played. */
export const notPlayed = (played: Case, outcome: 'skipped' | 'not-run', why: string): CaseResult => ({
  ...aboutOf(played),
  outcome,
  did: why,
  seconds: 0,
  findings: [],
});
