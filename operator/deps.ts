import type { Issuer } from '../issuer/issuer.ts';
import type { Decisions } from '../registry/decisions.ts';
import type { Deletions } from '../registry/deletions.ts';
import type { Devices } from '../registry/devices.ts';
import type { KnownGateway } from '../registry/gateways.ts';
import type { SilentDevices } from '../registry/silent-devices.ts';
import type { Takeover } from '../registry/takeover.ts';
import type { GatewayKey } from '../sealing/device-keys.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/** A gateway, and the site that it serves. */
export type SealedTo = GatewayKey & Pick<KnownGateway, 'site'>;

/** The arguments of the operator's functions. Each function takes the part that it needs. */
export type OperatorDeps = {
  readonly registry: Devices & Decisions & Deletions & Takeover;
  /** the table's name */
  readonly table: string;
  readonly issuer: Issuer;
  /** the gateways to which the keys of new tokens are sealed, each those of the devices that it serves */
  gateways(): Promise<readonly SealedTo[]>;
  /** those that the table trusts, also when they were not seen for so long that nothing is sealed to them */
  approvedGateways(): Promise<readonly Pick<KnownGateway, 'id' | 'seenAt' | 'site'>[]>;
  /** what the latest sweep found of devices that never connected */
  readonly silent: Pick<SilentDevices, 'read'>;
  /** tells the gateways of this site at once which of its devices changed; without it they notice within the hour */
  announce(serials: readonly string[], site?: string): Promise<void>;
  readonly audit: Audit;
  /** epoch milliseconds */
  now(): number;
  makeToken(): string;
};
