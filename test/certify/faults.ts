/** Faults that can be planted in the device of `device.ts`: the rule that it breaks with each, and the case that shows it. */
export const faults = {
  'trusts-any-certificate': { rule: 'wrong-ca', shownIn: 'wrong-ca' },
  'new-key-each-time': { rule: 'same-key', shownIn: 'cut-at-request' },
  'two-at-once': { rule: 'one-request-at-a-time', shownIn: 'plain' },
  'no-pause': { rule: 'pause-before-retry', shownIn: 'cut-at-connect' },
  'ignores-retry-after': { rule: 'throttled', shownIn: 'throttled' },
  'asks-after-a-refusal': { rule: 'blocked', shownIn: 'blocked' },
  'takes-pending-for-an-answer': { rule: 'pending-first', shownIn: 'pending-first' },
  'stumbles-over-new-fields': { rule: 'unknown-fields', shownIn: 'unknown-fields' },
  'acknowledges-another-id': { rule: 'right-ack', shownIn: 'plain' },
  'acknowledges-before-it-stores': { rule: 'power-cut-at-ack', shownIn: 'power-cut-at-ack' },
} as const;

export type Fault = keyof typeof faults;

/** With DEVICE_TIME=1. */
export const timeFaults = {
  'believes-any-time': { rule: 'time-wrong-signature', shownIn: 'time-wrong-signature' },
} as const;

export type TimeFault = keyof typeof timeFaults;

/** Of `fleet-device.ts`, which speaks Fleet Provisioning. */
export const fleetFaults = {
  'begins-anew': { rule: 'cut-before-registered', shownIn: 'cut-before-registered' },
  'gives-up-at-the-end-of-its-ownership-token': { rule: 'ownership-ended', shownIn: 'ownership-ended' },
  'asks-after-a-refusal': { rule: 'blocked', shownIn: 'blocked' },
  'never-asks-to-be-registered': { rule: 'asks-to-be-registered', shownIn: 'plain' },
} as const;

/** Of the same with DEVICE_CLAIM=1: it shows a claim certificate, and no token. */
export const claimFaults = {
  'asks-after-a-refusal': { rule: 'claim-revoked', shownIn: 'claim-revoked' },
  'ignores-retry-after': { rule: 'claim-limit', shownIn: 'claim-limit' },
} as const;

/** Of the same: an advice. */
export const rsaFault = { name: 'takes-ecdsa-only', rule: 'rsa-certificate' } as const;

export type FleetFault = keyof typeof fleetFaults | keyof typeof claimFaults | (typeof rsaFault)['name'];
