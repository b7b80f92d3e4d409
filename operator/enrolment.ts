import { hashToken } from '../protocol/token.ts';
import type { Enrolment, NewToken, Registry } from '../registry/registry.ts';
import { type GatewayKey, sealDeviceKeys } from '../sealing/device-keys.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/** What enrolling works with. */
export type EnrolContext = {
  registry(): Promise<Registry>;
  /** to whom the keys of new tokens are sealed */
  gateways(): Promise<readonly GatewayKey[]>;
  /** tells the gateways, which otherwise find out within the hour */
  announce(serials: readonly string[]): Promise<void>;
  audit(): Audit;
  write(line: string): void;
  now(): number;
};

/** `expires`: milliseconds from now until the token ends */
export type EnrolOptions = { expires?: number; policy?: string; thingType?: string; thingGroup?: string };

/** What the table keeps of a token. The token itself is not among it. */
export function newToken(
  serial: string,
  token: string,
  gateways: readonly GatewayKey[],
  tokenExpiresAt?: number,
): NewToken {
  return {
    tokenHash: hashToken(token),
    ...(gateways.length === 0 ? {} : { sealedKeys: sealDeviceKeys(serial, token, gateways) }),
    ...(tokenExpiresAt === undefined ? {} : { tokenExpiresAt }),
  };
}

/** The row of a device to be. */
export function enrolment(
  serial: string,
  token: string,
  options: EnrolOptions,
  { now, gateways }: { readonly now: number; readonly gateways: readonly GatewayKey[] },
): Enrolment {
  const { expires, policy, thingType, thingGroup } = options;
  return {
    serial,
    ...newToken(serial, token, gateways, expires === undefined ? undefined : now + expires),
    enrolledAt: now,
    ...(policy === undefined ? {} : { policyName: policy }),
    ...(thingType === undefined ? {} : { thingTypeName: thingType }),
    ...(thingGroup === undefined ? {} : { thingGroupName: thingGroup }),
  };
}

/** Announces what was enrolled. That it did not work is no failure: the gateways find out by themselves, only later. */
export async function announce(context: EnrolContext, serials: readonly string[]): Promise<void> {
  if (serials.length === 0) return;
  await context.announce(serials).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    console.error(`cvm: the gateways could not be told (${reason}); they find out within the hour`);
  });
}

export const withoutGateways =
  'No gateway has made its key known in this table yet: these devices cannot use their token as a TLS pre-shared key until they are reissued.';
