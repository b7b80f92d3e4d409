import type { OperatorDeps } from '../../operator/deps.ts';
import type { Patience, Refusal } from '../../operator/device.ts';
import { stateCure, stateFault } from '../../registry/row-faults.ts';
import { serves } from '../../registry/site.ts';
import { type Complaint, complain } from '../complaint.ts';
import type { Told } from '../failure-text.ts';

export const alreadyEnrolled = (serial: string): Complaint => ({
  serial,
  cause: `${serial} is enrolled already; nothing was changed`,
  cure: `For a new token: cvm devices reissue ${serial}`,
});

/** For what no row can have: a serial of other characters, say. */
export const invalid = (serial: string, reason: string, cure?: string): Complaint => ({
  serial,
  cause: `${JSON.stringify(serial)}: ${reason}`,
  cure,
});

/** Most attempts end within a second, and a lease within ten. */
export const patientWith = (serial: string, force = false): Patience => ({
  ms: 15_000,
  force,
  onWait: () => console.error(`cvm: ${serial} is being provisioned; waiting for up to 15 s until it is done`),
});

export const forceOption = [
  '--force',
  'do not wait for a worker that is provisioning the device, and end its attempt',
] as const;

/** Says why nothing was done to a device. */
export function failRefused(serial: string, { outcome }: Refusal, asJson?: boolean): void {
  const reasons: Readonly<Record<Refusal['outcome'], Told>> = {
    'not-enrolled': {
      cause: `${JSON.stringify(serial)} is not enrolled`,
      cure: 'cvm devices list shows the serials',
    },
    'being-provisioned': {
      cause: `${serial} is being provisioned at this moment`,
      cure: 'try again in a minute, or use --force',
    },
    changed: { cause: `${serial} changed meanwhile`, cure: 'run the command again' },
    'being-removed': {
      cause: `${serial} is being removed`,
      cure: `to finish it, run cvm devices remove ${serial} again`,
    },
    'is-blocked': { cause: `${serial} is blocked`, cure: `unblock it first: cvm devices unblock ${serial}` },
    'state-unknown': { cause: `${serial}: ${stateFault}`, cure: stateCure(serial) },
  };
  complain({ serial, ...reasons[outcome] }, asJson);
}

/** Reports a failure after a decision; the decision stands. @param cure a sentence */
export function failUnfinished(
  serial: string,
  { stands, reason, cure }: { stands: string; reason: string; cure: string },
  asJson?: boolean,
): void {
  complain({ serial, cause: `${stands}: ${reason}`, cure }, asJson);
}

/** The option of a command that prints the outcome for each device. */
export const jsonOption = ['--json', 'one JSON object a line'] as const;

/** Not a failure: the gateways read the whole table from time to time. */
export function warnUnannounced(reason: string | undefined): void {
  if (reason === undefined) return;
  console.error(`cvm: the gateways could not be told (${reason}); they notice the change within the hour`);
}

/** Says why the keys of new devices were sealed to no gateway. @param sites of these devices; undefined stands for none */
export async function warnWithout(
  sites: ReadonlySet<string | undefined>,
  { approvedGateways, now }: Pick<OperatorDeps, 'approvedGateways' | 'now'>,
): Promise<void> {
  if (sites.size === 0) return;
  const approved = await approvedGateways();
  for (const site of sites)
    warnWithoutGateways(
      approved.filter((gateway) => serves(gateway.site, site)),
      { time: now(), site },
    );
}

/** @param time by which gateways count as seen or not; epoch milliseconds */
function warnWithoutGateways(
  approved: readonly { readonly seenAt: number }[],
  { time, site }: { readonly time: number; readonly site: string | undefined },
): void {
  const effect = 'these devices cannot use their token as a TLS pre-shared key until they are reissued.';
  const whose = site === undefined ? '' : ` of the site ${site}`;
  if (approved.length === 0) {
    const sites = site === undefined ? '' : ` The gateway of ${site} needs CVM_SITE=${site}; no other serves them.`;
    console.error(`No gateway${whose} is approved in this table yet (cvm tls gateways lists them): ${effect}${sites}`);
    return;
  }
  const day = (at: number) => new Date(at).toISOString().slice(0, 10);
  const last = Math.max(...approved.map(({ seenAt }) => seenAt));
  console.error(
    `No approved gateway${whose} was seen in the last 30 days (the last one on ${day(last)}; today is ${day(time)}): ${effect} Start the gateways first; if today's date is wrong, set the clock of this machine.`,
  );
}

/** For a token that came with the command: it is not shown again. */
export function printGiven(write: (line: string) => void, serial: string, json = false): void {
  write(json ? JSON.stringify({ serial }) : `${serial}  has the token that was given`);
}

/** Prints a token that is in effect already. @throws with the cure when it cannot be printed: it stands nowhere else */
export function printToken(write: (line: string) => void, serial: string, token: string, json = false): void {
  try {
    write(json ? JSON.stringify({ serial, token }) : `${serial}  ${token}`);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(
      `the new token of ${serial} could not be printed (${message}); for another: cvm devices reissue ${serial}`,
    );
  }
}
