import { randomUUID } from 'node:crypto';
import { isSerial } from '../../protocol/serial.ts';
import type { Changes } from '../changes.ts';
import type { ClaimCertificates } from '../claim-certificates.ts';
import type { Device } from '../device.ts';
import type { Gateways } from '../gateways.ts';
import type { Registry } from '../registry.ts';
import type { Restoration } from '../restoration.ts';
import type { Rows } from '../rows.ts';
import type { BoundKey } from '../rules/bound-keys.ts';
import { type Announcement, createChanges } from '../rules/changes.ts';
import { type ClaimRow, createClaimCertificates } from '../rules/claim-certificates.ts';
import { createGateways, type GatewayEntry, type GatewayRow } from '../rules/gateways.ts';
import { createRegistry } from '../rules/registry.ts';
import { createRestoration, type RestorationRow } from '../rules/restoration.ts';
import { createSilentDevices, type SilentRow } from '../rules/silent-devices.ts';
import { createSweepLease, type Lease } from '../rules/sweep-lease.ts';
import { createTableFormat, type FormatRow } from '../rules/table-format.ts';
import type { SilentDevices } from '../silent-devices.ts';
import type { SiteIndex } from '../site-index.ts';
import type { SweepLease } from '../sweep-lease.ts';
import type { TableFormat } from '../table-format.ts';
import { type Attributes, mapOf, number, objectOf, propertiesOf, text, texts } from './attributes.ts';
import { deviceAttributes, deviceOf } from './device-attributes.ts';
import { dynamoRows, dynamoUpsertBoth } from './rows.ts';
import { createSiteIndex, indexedRows } from './site-index.ts';
import type { DynamoTable } from './table.ts';

/** All that the association table holds. */
export type AssociationTable = {
  readonly registry: Registry;
  readonly lease: SweepLease;
  readonly gateways: Gateways;
  readonly changes: Changes;
  readonly restoration: Restoration;
  readonly silent: SilentDevices;
  readonly sites: SiteIndex;
  readonly claims: ClaimCertificates;
  readonly format: TableFormat;
};

/**
 * @param makeId makes an id that no claim ever had
 * @param now epoch milliseconds
 */
export function createAssociationTable(
  table: DynamoTable,
  makeId: () => string = randomUUID,
  now: () => number = Date.now,
): AssociationTable {
  const devices = indexedRows(deviceRows(table), now);
  const gateways = createGateways(otherRows(table, gatewayAttributes));
  return {
    sites: createSiteIndex(table, gateways),
    registry: createRegistry(
      {
        devices,
        keys: otherRows(table, keyAttributes),
        // the index has nothing of what is written together with a key
        upsertBoth: dynamoUpsertBoth(table, deviceAttributes, keyAttributes),
      },
      makeId,
    ),
    lease: createSweepLease(
      otherRows<Lease>(table, {
        holder: ['claimant', text],
        leaseUntil: ['leaseUntil', number],
        sweptAt: ['sweptAt', number],
      }),
    ),
    gateways,
    claims: createClaimCertificates(claimRowsIn(table)),
    format: formatOf(table),
    restoration: createRestoration(otherRows<RestorationRow>(table, { restoredAt: ['restoredAt', number] })),
    silent: createSilentDevices(
      otherRows<SilentRow>(table, {
        at: ['silentAt', number],
        count: ['silentCount', number],
        unasked: ['silentUnasked', number],
        reason: ['silentReason', text],
        oldest: ['silentOldest', text],
      }),
    ),
    changes: createChanges(
      otherRows<Announcement>(table, { number: ['announced', number], serials: ['serials', texts] }),
    ),
  };
}

/** Which form the rows have. */
export const formatOf = (table: DynamoTable) =>
  createTableFormat(otherRows<FormatRow>(table, { format: ['tableFormat', number], by: ['formatBy', text] }));

const keyAttributes: Attributes<BoundKey> = { serial: ['holder', text] };

export const claimAttributes: Attributes<ClaimRow> = {
  ids: ['claimIds', texts],
  group: ['claimGroup', text],
  templateName: ['templateName', text],
  serials: ['serialPattern', text],
  most: ['claimsAtMost', number],
  mostAnHour: ['claimsAnHour', number],
  createdAt: ['createdAt', number],
  endsAt: ['endsAt', number],
  revokedAt: ['revokedAt', number],
  served: ['claimsServed', number],
  hour: ['claimHour', number],
  inHour: ['claimsInHour', number],
  intended: ['certsIntended', texts],
  waiting: ['certsWaiting', texts],
  given: ['certsGiven', texts],
  over: ['certsOver', texts],
};

/** The rows of the claim certificates, and the one that lists them. */
export const claimRowsIn = (table: DynamoTable): Rows<ClaimRow> => otherRows(table, claimAttributes);

const gatewayEntry = objectOf<GatewayEntry>(
  {
    publicKey: ['publicKey', text],
    signingKey: ['signingKey', text],
    seenAt: ['seenAt', number],
    state: ['state', text],
    site: ['site', text],
  },
  ['publicKey', 'signingKey', 'seenAt'],
);

/**
 * Version 0.1.0 wrote an attribute `gateway-<id>` for each gateway, without a key to sign with. They count for nothing: what
 * cannot sign cannot be approved.
 */
const gatewayAttributes: Attributes<GatewayRow> = {
  revision: ['revision', number],
  entries: ['gateways', mapOf(gatewayEntry)],
  approvedFirst: ['approvedFirst', text],
  signingSeed: ['signingSeed', text],
};

/** No serial has a "#" in it, and the key of every row that is no device begins with one. */
function deviceRows(table: DynamoTable): Rows<Device> {
  return dynamoRows(table, deviceAttributes, (item) => {
    const device = deviceOf(item);
    return isSerial(device.serial) ? device : undefined;
  });
}

/** Rows that are no devices are few, and none of their properties is required. */
function otherRows<Row extends object>(table: DynamoTable, attributes: Attributes<Row>): Rows<Row> {
  return dynamoRows(table, attributes, (item) => propertiesOf(attributes, item) as Row);
}
