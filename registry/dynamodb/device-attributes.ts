import { hashToken } from '../../protocol/token.ts';
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
import { expiryAttribute } from './named-attributes.ts';
import type { Item } from './table.ts';

const state: Codec<DeviceState> = {
  write(value) {
    const applyState = applyStateOf(value);
    if (applyState === undefined) throw new Error(`no applyState stands for the state "${value}"`);
    return number.write(applyState);
  },
  read: ({ N }) => (N === undefined ? undefined : stateOfApplyState(Number(N))),
};

/** Other tools may write the ARN, which ends with the id. */
const certificateId: Codec<string> = {
  write: (value) => text.write(value),
  read: ({ S }) => (S === undefined ? undefined : (/^arn:.*:cert\/(\w+)$/.exec(S)?.[1] ?? S)),
};

/** The sweep deletes what has one, so an attribute of this name that another tool wrote is none. */
const removal: Codec<Removal> = {
  write: (value) => text.write(value),
  read: ({ S }) => (S === 'with-thing' || S === 'keep-thing' ? S : undefined),
};

/** Where a device has no site: an index has no row without its key. */
export const anySite = '*';

/** An attribute of another type names no site that there is: the row is then no gateway's. */
const site: Codec<string> = { write: (value) => text.write(value), read: ({ S = '' }) => S };

const numberedIntent = objectOf<Omit<CreateIntent, 'id'>>({ at: ['at', number], keyDigest: ['key', text] }, ['at']);

const ownKey = objectOf<OwnKey>({ csrPem: ['csr', text], keyDigest: ['key', text], sealedKey: ['sealed', text] }, [
  'csrPem',
  'keyDigest',
  'sealedKey',
]);

const template = objectOf<NonNullable<Device['template']>>({ name: ['name', text], digest: ['digest', text] }, [
  'name',
  'digest',
]);

/**
 * The association table: which attribute holds which property of a device that is stored. The first five are those of the reference design.
 * Tables hold rows of earlier versions, so an attribute keeps its name when the code renames the property.
 */
export const deviceAttributes: Attributes<Omit<Device, 'tokenForm'>> = {
  serial: ['productId', text],
  tokenHash: ['accessToken', text],
  requestedAt: ['timestamp', number],
  state: ['applyState', state],
  certificateId: [
    'certID',
    certificateId,
    { earlierName: 'certId', missing: '', longerSpelling: (id) => `:cert/${id}` },
  ],
  keptReply: ['keptReply', base64url],
  template: ['template', template],
  enrolledAt: ['enrolledAt', number],
  site: ['site', site, { missing: anySite }],
  changedAt: ['changedAt', number],
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
  claimGroup: ['claimGroup', text],
  createIntents: ['intents', texts],
  numberedIntents: ['creates', mapOf(numberedIntent)],
  ownKey: ['ownKey', ownKey],
  pendingDeletion: ['condemned', texts],
  deleted: ['deleted', texts],
  mayHaveOthers: ['mayHaveOthers', flag],
  seenAt: ['seenAt', number],
  lookedAt: ['lookedAt', number],
  removal: ['removal', removal],
  removedAt: ['removedAt', number],
  forgetAt: [expiryAttribute, number],
};

/** A row that another tool wrote has the five fields only, or fewer. */
export function deviceOf(item: Item): Device {
  const read = propertiesOf(deviceAttributes, item);
  const device: Device = {
    serial: '',
    tokenHash: '',
    state: 'unknown',
    requestedAt: 0,
    enrolledAt: 0,
    attempt: 0,
    ...read,
    // what is left of a removed device has no token
    ...(read.removedAt === undefined ? tokenOf(read.tokenHash) : {}),
  };
  return device.issuedAt === undefined && wentLive(device) ? { ...device, issuedAt: device.requestedAt } : device;
}

const hashes = { stored: /^sha256:[0-9a-f]{64}$/, inAnyCase: /^sha256:[0-9a-f]{64}$/i };

/** Not a token in clear, but the hash of one, perhaps in another spelling. */
export const isHash = (accessToken: string): boolean => /^sha256:/i.test(accessToken);

/** A token in clear goes no further than this. */
function tokenOf(accessToken: string | undefined): Pick<Device, 'tokenHash' | 'tokenForm'> {
  if (accessToken !== undefined && hashes.stored.test(accessToken)) return { tokenHash: accessToken };
  if (!accessToken || (isHash(accessToken) && !hashes.inAnyCase.test(accessToken)))
    return { tokenHash: 'missing', tokenForm: 'missing' };
  const tokenHash = isHash(accessToken) ? accessToken.toLowerCase() : hashToken(accessToken);
  return { tokenHash, tokenForm: 'not-hashed' };
}

/** The reference design writes the certificate when the device has it. An attempt of ours does so before, and counts. */
const wentLive = ({ state, attempt, certificateId }: Device): boolean =>
  state === 'registered' || (state === 'blocked' && attempt === 0 && certificateId !== undefined);
