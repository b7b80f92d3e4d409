import type { Refusal } from '../operator/device.ts';
import { Problem } from './problem.ts';

type Because = { readonly status: number; readonly code: string; readonly message: string; readonly cure: string };

/** Why nothing was done to a device, for people. */
const reasons: Readonly<Record<Refusal['outcome'], Because>> = {
  'not-enrolled': {
    status: 404,
    code: 'NotEnrolled',
    message: 'no device with this serial is enrolled',
    cure: 'correct the serial, or enrol the device',
  },
  'being-provisioned': {
    status: 409,
    code: 'BeingProvisioned',
    message: 'the device is being provisioned at this moment',
    cure: 'try again in a minute',
  },
  changed: { status: 409, code: 'Changed', message: 'the device changed meanwhile', cure: 'try again' },
  'being-removed': {
    status: 409,
    code: 'BeingRemoved',
    message: 'the device is being removed',
    cure: 'remove it again to finish that, and then enrol it anew',
  },
  'is-blocked': { status: 409, code: 'IsBlocked', message: 'the device is blocked', cure: 'unblock it first' },
  'state-unknown': {
    status: 409,
    code: 'StateUnknown',
    message: 'another tool wrote an applyState into the row that means nothing',
    cure: 'set applyState in the table to 0, 1, -1 or -2',
  },
};

export function problemOf({ outcome }: Refusal): Problem {
  const { status, code, message, cure } = reasons[outcome];
  return new Problem(status, code, message, cure);
}

export const invalid = (reason: string, cure = 'correct it, and try again') =>
  new Problem(400, 'InvalidRequest', reason, cure);

export const alreadyEnrolled = () =>
  new Problem(
    409,
    'AlreadyEnrolled',
    'a device with this serial is enrolled already; nothing was changed',
    'for a new token, reissue it',
  );
