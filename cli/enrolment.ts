import { hashToken } from '../protocol/token.ts';
import type { Enrolment, Registry } from '../registry/registry.ts';

/** What enrolling works with. */
export type EnrolContext = { registry(): Promise<Registry>; write(line: string): void; now(): number };

/** `expires`: milliseconds from now until the token ends */
export type EnrolOptions = { expires?: number; policy?: string; thingType?: string; thingGroup?: string };

/** The row of a device to be. */
export function enrolment(serial: string, token: string, options: EnrolOptions, now: number): Enrolment {
  const { expires, policy, thingType, thingGroup } = options;
  return {
    serial,
    tokenHash: hashToken(token),
    enrolledAt: now,
    ...(expires === undefined ? {} : { tokenExpiresAt: now + expires }),
    ...(policy === undefined ? {} : { policyName: policy }),
    ...(thingType === undefined ? {} : { thingTypeName: thingType }),
    ...(thingGroup === undefined ? {} : { thingGroupName: thingGroup }),
  };
}
