import type { ErrorCode, ProblemName } from '../protocol/problems.ts';

/**
 * What brokers and workers saw of a device in the last days, for `cvm explain`. It is kept beside the audit trail, which has the
 * decisions: a sighting decides nothing, may be lost, and is not signed. Names, numbers and addresses only: no token, no key, and no text that
 * a device sent or another service answered with. Who writes to Redis can therefore put no words of its own before an operator.
 */

/** Why a TLS handshake failed. */
export const tlsFaults = [
  'untrusted-ca',
  'certificate-refused',
  'clock-1970',
  'certificate-kind',
  'no-shared-cipher',
  'no-shared-signature',
  'no-shared-curve',
  'tls-version',
  'not-tls',
  'psk-identity',
  'psk-unknown',
  'psk-wrong',
  'no-key',
  'handshake-timeout',
  'handshake-ended',
  'tls-failed',
] as const;
export type TlsFault = (typeof tlsFaults)[number];

/** Why the broker closed a connection. */
export const closeFaults = [
  'keep-alive',
  'no-connect',
  'reads-nothing',
  'will',
  'crowded-out',
  'not-stored',
  'not-mqtt',
] as const;
export type CloseFault = (typeof closeFaults)[number];

/** How a call of AWS ended that was not carried out, as far as is known. */
export const callFaults = ['throttled', 'unreachable', 'refused', 'failed'] as const;
export type CallFault = (typeof callFaults)[number];

/** `from`: the address of the device, or of its router. */
type From = { readonly from: string };
type OfRequest = { readonly requestId: string };
type Refusal = {
  readonly errorCode: ErrorCode /** which of the refusals with this code, where it is one of `problems` */;
  readonly problem?: ProblemName;
};
/** `operation`: `iot:AttachPolicy`, say; `error`: AWS's name for it. */
type FailedCall = { readonly operation?: string; readonly error?: string };

/** Every sighting with its fields. What tells two of the same name apart is a field; what only changes from one time to the next is `latest`. */
export type SightingFields = {
  /** a TLS handshake that named this serial, or none, failed */
  'handshake-failed': From & { readonly why: TlsFault };
  /** a connection named this serial */
  connected: From & { readonly by: 'pre-shared key' | 'user name' | 'message' };
  /** the broker closed its connection */
  closed: From & { readonly why: CloseFault };
  /** the broker refused a message by itself. `keyUnused`: the device showed a pre-shared key, and TLS went by certificate */
  refused: From & Refusal & { readonly keyUnused?: true };
  /** a request is stored, and got its PUBACK */
  stored: From & OfRequest;
  /** it waits in the line; `latest` is its place and, where it is known, the seconds that it was told */
  waiting: From & OfRequest;
  /** a worker tried, and AWS did not do it: the worker tries on, or the request went back into the line */
  postponed: OfRequest & FailedCall & { readonly outcome: CallFault };
  /** a worker decided. `latest`: the calls that it made for it, `issue 35,attach 20`, with their milliseconds */
  decided: OfRequest & FailedCall & Partial<Refusal> & { readonly outcome: 'vended' | 'repeated' | 'refused' };
  /** the final answer was written to the device's connection */
  answered: From & OfRequest & Partial<Refusal> & { readonly outcome: 'accepted' | 'rejected' | 'registered' };
  /** an answer has no room in the largest packet that the device takes, in bytes */
  'too-large': From & { readonly maxPacket: number };
  /** the device closed its connection before its answer was there */
  left: From & OfRequest;
  /** the device says that it has stored its certificate. `spent`: that took effect */
  acknowledged: { readonly certificateId: string; readonly spent: boolean };
};

export type SightingName = keyof SightingFields;

/**
 * How sure it is that it was the device. `own`: the connection had proved the device's token, or a worker found it right. `unproven`: anybody could have
 * named this serial, which the broker knows. `unknown`: the same for a serial that it does not know. Each kind has bounds of its own, so that a
 * stranger who invents serials, or names others', pushes out nothing that a device with its token did.
 */
export const sightingKinds = ['own', 'unproven', 'unknown'] as const;
export type SightingKind = (typeof sightingKinds)[number];

/** A sighting as it is read. The same thing seen again is one sighting with a count. Epoch milliseconds by the clock of Redis. */
export type Sighting = {
  [Name in SightingName]: {
    readonly kind: SightingKind;
    readonly name: Name;
    readonly firstAt: number;
    readonly at: number;
    readonly count: number;
    readonly latest?: string;
  } & SightingFields[Name];
}[SightingName];

/** What the parts report to. It never throws, and waits for nothing. */
export interface Sightings {
  /** @param serial undefined for a failed handshake that named none @param latest what changes from one time to the next @param agoMs when it was, where that is known only later */
  note<Name extends SightingName>(
    kind: SightingKind,
    serial: string | undefined,
    name: Name,
    fields: SightingFields[Name],
    latest?: string,
    agoMs?: number,
  ): void;
}

/** For a test, or a part, that keeps none. */
export const noSightings: Sightings = { note() {} };
