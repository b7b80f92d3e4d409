import type { Issuer } from '../issuer/issuer.ts';
import { malformedToken } from '../protocol/token.ts';
import type { Device } from '../registry/device.ts';
import type { SourceRow } from '../registry/source-table.ts';
import { tokenFault } from './token-strength.ts';

/** What an operator should know of a device that was taken over. */
export type TakeoverNote =
  /** its token can be guessed, or is another device's, too, and was taken over all the same, as the operator chose */
  | 'weak-token'
  /** its token can be guessed, or is another device's, too, and counts as spent: the device holds its certificate, and needs no other */
  | 'weak-token-spent'
  | 'certificate-not-active'
  | 'certificate-not-attached'
  /** it counts as registered, and its row names no certificate */
  | 'certificate-not-named';

export function faultOfRow({ state, tokenForm }: Device): string | undefined {
  if (state === 'unknown') return 'its applyState is none of the numbers 0, 1, -1 and -2: correct it there';
  if (tokenForm === 'missing') return 'it has no token, or one that is no text: enrol it with "cvm devices add"';
  return undefined;
}

/** A row of another gateway's table is taken over when no process works on it there. */
export function unfinishedIn(device: Device): string | undefined {
  const { removal, pendingDeletion, createIntents, numberedIntents, previousCertificateId } = device;
  const isUnfinished = [removal, pendingDeletion, createIntents, numberedIntents, previousCertificateId].some(
    (part) => part !== undefined,
  );
  return isUnfinished
    ? 'the gateway of that table has not finished with it: let the device ask there, or sweep there, and run the command again'
    : undefined;
}

type JudgedToken =
  | { readonly fault: string }
  /** `spent`: it vends nothing any more */
  | { readonly spent: boolean; readonly notes: readonly TakeoverNote[] };

/**
 * Whether a token may go on vending. One that is hashed already cannot be judged, but by its hash: that of another row is known to that device.
 * @param sharer the other device with this token
 */
export function judgeToken(
  token: string | undefined,
  { serial, state }: Device,
  { weakTokens, sharer }: { readonly weakTokens: boolean; readonly sharer?: string | undefined },
): JudgedToken {
  const all = '--weak-tokens takes it over all the same';
  const fault =
    (token === undefined ? undefined : tokenFault(token, { serial }, all)) ??
    (sharer === undefined
      ? undefined
      : `the token is also that of ${sharer}, which could get the certificate of this one: ${all}`);
  if (fault === undefined) return { spent: false, notes: [] };
  const isUsable = token === undefined || malformedToken(token) === undefined;
  if (isUsable && weakTokens) return { spent: false, notes: ['weak-token'] };
  if (state === 'registered') return { spent: true, notes: ['weak-token-spent'] };
  return { fault };
}

/**
 * Compares the certificate that a row names with AWS IoT Core. One that is not there, or is another device's, is a fault: the row would
 * promise a certificate that the device has not.
 * @param taken whose each certificate is that was judged before
 */
export async function certificateNotes(
  { device, certificateRegion }: SourceRow,
  issuer: Pick<Issuer, 'describeCertificate' | 'thingsOf'>,
  taken: Map<string, string>,
): Promise<{ readonly fault: string } | { readonly notes: readonly TakeoverNote[] }> {
  const { serial = '', state, certificateId } = device ?? {};
  if (certificateId === undefined) return { notes: state === 'registered' ? ['certificate-not-named'] : [] };
  const found = await issuer.describeCertificate(certificateId);
  if (found === undefined) {
    const where = certificateRegion === undefined ? '' : ` (its ARN names ${certificateRegion})`;
    return {
      fault: `its certificate ${certificateId} is not in AWS IoT Core here${where}; enrol it with "cvm devices add"`,
    };
  }
  const things = await issuer.thingsOf(certificateId);
  const other = things.find((thing) => thing !== serial) ?? taken.get(certificateId);
  if (other !== undefined && other !== serial)
    return { fault: `its certificate ${certificateId} is also, or only, that of ${other}: correct either` };
  taken.set(certificateId, serial);
  return {
    notes: [
      ...(found.status === 'active' || state === 'blocked' ? [] : (['certificate-not-active'] as const)),
      ...(things.length > 0 ? [] : (['certificate-not-attached'] as const)),
    ],
  };
}
