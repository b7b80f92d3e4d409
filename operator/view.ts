import { applyStateOf } from '../registry/apply-state.ts';
import { lifeOf } from '../registry/came-alive.ts';
import { createIntentsOf } from '../registry/create-intents.ts';
import type { Device, DeviceState } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import { faultOf, type RowFault } from '../registry/row-faults.ts';

/** The part of a row that a person may see: not the token's hash, and no key derived from the token. Times are ISO 8601. */
export type DeviceView = {
  readonly serial: string;
  readonly state: DeviceState | 'being-removed';
  /** the state as the number that the table has; absent where that is `unknown` */
  readonly applyState?: number;
  /** why the device gets nothing until an operator has mended its row; `cureOf` says how */
  readonly fault?: RowFault;
  /** whose gateways serve it; without it, every gateway does */
  readonly site?: string;
  readonly certificateId?: string;
  /** the provisioning template by which the device asked for it, over `cvm/request/<serial>` */
  readonly template?: string;
  /** the certificate that works until a reissued device has its new one */
  readonly previousCertificateId?: string;
  /** certificates that the next attempt or the next sweep deletes */
  readonly pendingDeletion?: readonly string[];
  readonly createCallsWithoutAnswer?: number;
  readonly enrolledAt?: string;
  readonly requestedAt?: string;
  readonly issuedAt?: string;
  readonly deliveredAt?: string;
  /** when it was first found to have connected to AWS IoT Core with this certificate, by AWS's clock */
  readonly seenAt?: string;
  /** since when it holds a certificate with which it has never connected, as AWS said when it was asked last (`lookedAt`) */
  readonly silentSince?: string;
  readonly lookedAt?: string;
  readonly tokenExpiresAt?: string;
  readonly policyName?: string;
  readonly thingTypeName?: string;
  readonly thingGroupName?: string;
  /** a claim certificate of this group may stand for it */
  readonly claimGroup?: string;
  /** ids of the gateways where the device can use its token as a TLS pre-shared key */
  readonly pskGateways?: readonly string[];
  /** how many claims and decisions there were */
  readonly revision: number;
};

type ReadDeps = { readonly registry: Pick<Devices, 'find' | 'list'> };

/** All devices, or those in one state or of one site; in no particular order. */
export async function* listDevices(
  { state, site }: { readonly state?: DeviceView['state'] | undefined; readonly site?: string | undefined },
  { registry }: ReadDeps,
): AsyncIterable<DeviceView> {
  for await (const device of registry.list()) {
    if (site !== undefined && device.site !== site) continue;
    const view = viewOf(device);
    if (state === undefined || view.state === state) yield view;
  }
}

export type ShowOutcome =
  | { readonly outcome: 'found'; readonly device: DeviceView }
  | { readonly outcome: 'not-enrolled' };

export async function showDevice(serial: string, { registry }: ReadDeps): Promise<ShowOutcome> {
  const device = await registry.find(serial);
  return device === undefined ? { outcome: 'not-enrolled' } : { outcome: 'found', device: viewOf(device) };
}

export function viewOf(device: Device): DeviceView {
  const { serial, state, certificateId, previousCertificateId, pendingDeletion, removal } = device;
  const lost = createIntentsOf(device).length;
  const life = lifeOf(device);
  const view = {
    serial,
    state: removal === undefined ? state : 'being-removed',
    applyState: applyStateOf(state),
    fault: faultOf(device),
    site: device.site,
    certificateId,
    template: device.template?.name,
    previousCertificateId,
    pendingDeletion,
    createCallsWithoutAnswer: lost === 0 ? undefined : lost,
    enrolledAt: isoTime(device.enrolledAt),
    requestedAt: isoTime(device.requestedAt),
    issuedAt: isoTime(device.issuedAt),
    deliveredAt: isoTime(device.deliveredAt),
    seenAt: life === 'seen' ? isoTime(device.seenAt) : undefined,
    silentSince: life === 'silent' ? isoTime(device.issuedAt) : undefined,
    lookedAt: life === 'seen' || life === 'silent' ? isoTime(device.lookedAt) : undefined,
    tokenExpiresAt: isoTime(device.tokenExpiresAt),
    policyName: device.policyName,
    thingTypeName: device.thingTypeName,
    thingGroupName: device.thingGroupName,
    claimGroup: device.claimGroup,
    pskGateways: device.sealedKeys && Object.keys(device.sealedKeys),
    revision: device.attempt,
  };
  return Object.fromEntries(Object.entries(view).filter(([, value]) => value !== undefined)) as DeviceView;
}

/** A time as every list shows it. */
export const timeText = (ms: number): string => isoTime(ms) ?? String(ms);

/** 0 stands for a time that has not come yet. A number that is no time is shown as it is: one row must not end a list. */
function isoTime(ms: number | undefined): string | undefined {
  if (ms === undefined || ms === 0) return undefined;
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? String(ms) : time.toISOString();
}
