import type { Problem } from './problems.ts';

/** The certificate that a device gets, and what it needs to use it. `privateKeyPem` is there when AWS or the gateway made the key. */
export type Credentials = {
  readonly certificateId: string;
  readonly certificatePem: string;
  readonly privateKeyPem?: string;
  readonly thingName: string;
  readonly endpoint: string;
  readonly rootCaPem: string;
  /** where the request named a template: flat, as that has it */
  readonly deviceConfiguration?: RegisteredThing['deviceConfiguration'];
};

/** What a device gets that asked to be registered by a template. */
export type RegisteredThing = {
  readonly thingName: string;
  /** flat, as the template has it */
  readonly deviceConfiguration: Readonly<Record<string, string>>;
};

/** The answer to one request, before a dialect writes it in the form that the device asked for. */
export type Answer =
  | { readonly status: 'accepted'; readonly credentials: Credentials }
  | { readonly status: 'rejected'; readonly problem: Problem }
  | ({ readonly status: 'registered' } & RegisteredThing)
  | PendingAnswer;

/** How long the device will wait. */
export type PendingAnswer = {
  readonly status: 'pending';
  /** place in the line, from 1 */
  readonly position: number;
  /** absent while it is unknown, for example when AWS is away */
  readonly etaSeconds?: number;
  /** seconds after which a device that leaves should ask again */
  readonly retryAfterSeconds: number;
  /** since it asked; not for the device, which knows it */
  readonly waitedSeconds?: number;
};

/** Whether the request is over with this answer. After a `pending` one the device goes on waiting. */
export function isFinal(answer: Answer): boolean {
  return answer.status !== 'pending';
}
