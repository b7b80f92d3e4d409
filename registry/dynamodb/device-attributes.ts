import { applyStateOf, stateOfApplyState } from '../apply-state.ts';
import type { CreateIntent, Device, DeviceState, OwnKey, Removal } from '../device.ts';
import {
  type Attributes,
  base64url,
  type Codec,
  flag,
  mapOf,
  number,
  objectOf,
  propertiesOf,
  text,
  texts,
} from './attributes.ts';
import type { Item } from './table.ts';

const state: Codec<DeviceState> = {
  write: (value) => number.write(applyStateOf(value)),
  read: ({ N }) => (N === undefined ? undefined : stateOfApplyState(Number(N))),
};

const removal: Codec<Removal> = {
  write: (value) => text.write(value),
  read: ({ S }) => (S === undefined ? undefined : S === 'with-thing' ? 'with-thing' : 'keep-thing'),
};

const createIntent = objectOf<CreateIntent>({ at: ['at', number], keyDigest: ['key', text] }, ['at']);

const ownKey = objectOf<OwnKey>({ csrPem: ['csr', text], keyDigest: ['key', text], sealedKey: ['sealed', text] }, [
  'csrPem',
  'keyDigest',
  'sealedKey',
]);

/**
 * The association table: which attribute holds which property of a device. The first five are those of the reference design.
 * Tables hold rows of earlier versions, so an attribute keeps its name when the code renames the property.
 */
export const deviceAttributes: Attributes<Device> = {
  serial: ['productId', text],
  tokenHash: ['accessToken', text],
  requestedAt: ['timestamp', number],
  state: ['applyState', state, { missing: 'enrolled' }],
  certificateId: ['certID', text, { earlierName: 'certId', missing: '' }],
  keptReply: ['keptReply', base64url],
  enrolledAt: ['enrolledAt', number],
  attempt: ['attempt', number, { missing: 0 }],
  claimId: ['claimId', text],
  leaseUntil: ['leaseUntil', number],
  claimedBy: ['claimant', text],
  previousCertificateId: ['previousCertId', text],
  keyDigest: ['keyDigest', text],
  issuedAt: ['issuedAt', number],
  deliveredAt: ['deliveredAt', number],
  tokenExpiresAt: ['tokenExpiresAt', number],
  sealedKeys: ['sealedKeys', mapOf(text)],
  policyName: ['policyName', text],
  thingTypeName: ['thingTypeName', text],
  thingGroupName: ['thingGroupName', text],
  createIntents: ['creates', mapOf(createIntent)],
  ownKey: ['ownKey', ownKey],
  pendingDeletion: ['condemned', texts],
  deleted: ['deleted', texts],
  mayHaveOthers: ['mayHaveOthers', flag],
  removal: ['removal', removal],
  removedAt: ['removedAt', number],
};

/** A row that another tool wrote has the five fields only, or fewer. */
export function deviceOf(item: Item): Device {
  const device: Device = {
    serial: '',
    tokenHash: '',
    state: 'enrolled',
    requestedAt: 0,
    enrolledAt: 0,
    attempt: 0,
    ...propertiesOf(deviceAttributes, item),
  };
  if (device.state !== 'registered' || device.issuedAt !== undefined) return device;
  return { ...device, issuedAt: device.requestedAt };
}
