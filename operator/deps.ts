import type { Issuer } from '../issuer/issuer.ts';
import type { Registry } from '../registry/registry.ts';
import type { GatewayKey } from '../sealing/device-keys.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/** The arguments of the operator's functions. Each function takes the part that it needs. */
export type OperatorDeps = {
  readonly registry: Registry;
  readonly issuer: Issuer;
  /** the gateways to which the keys of a new token are sealed */
  gateways(): Promise<readonly GatewayKey[]>;
  /** tells the gateways at once which devices changed; without it they notice within the hour */
  announce(serials: readonly string[]): Promise<void>;
  readonly audit: Audit;
  /** epoch milliseconds */
  now(): number;
  makeToken(): string;
};
