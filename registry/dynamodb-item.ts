import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { applyStateOf, stateOfApplyState } from './apply-state.ts';
import type { CreateIntent, Device, DeviceState, Enrolment, OwnKey, Removal } from './registry.ts';

/** A device as DynamoDB has it: which attribute holds what. */
export type Item = Record<string, AttributeValue>;

export const S = (text: string): AttributeValue => ({ S: text });
export const N = (value: number): AttributeValue => ({ N: String(value) });
export const stateAttribute = (state: DeviceState): AttributeValue => N(applyStateOf(state));
export const SS = (texts: readonly string[]): AttributeValue => ({ SS: [...texts] });

export function itemOf(enrolment: Enrolment): Item {
  const { serial, tokenHash, enrolledAt, tokenExpiresAt, sealedKeys, policyName, thingTypeName, thingGroupName } =
    enrolment;
  return {
    productId: S(serial),
    accessToken: S(tokenHash),
    timestamp: N(0),
    applyState: stateAttribute('enrolled'),
    attempt: N(0),
    enrolledAt: N(enrolledAt),
    ...(tokenExpiresAt === undefined ? {} : { tokenExpiresAt: N(tokenExpiresAt) }),
    ...(sealedKeys === undefined ? {} : { sealedKeys: itemOfSealedKeys(sealedKeys) }),
    ...(policyName === undefined ? {} : { policyName: S(policyName) }),
    ...(thingTypeName === undefined ? {} : { thingTypeName: S(thingTypeName) }),
    ...(thingGroupName === undefined ? {} : { thingGroupName: S(thingGroupName) }),
  };
}

/** Rows that the reference design's own tools wrote have the five fields only. */
export function deviceOf(item: Item): Device {
  const text = (name: string, as: string = name) => (item[name]?.S === undefined ? {} : { [as]: item[name].S });
  const number = (name: string) => (item[name]?.N === undefined ? {} : { [name]: Number(item[name].N) });
  return {
    serial: item.productId?.S ?? '',
    tokenHash: item.accessToken?.S ?? '',
    state: stateOfApplyState(Number(item.applyState?.N ?? 0)),
    requestedAt: Number(item.timestamp?.N ?? 0),
    enrolledAt: Number(item.enrolledAt?.N ?? 0),
    attempt: Number(item.attempt?.N ?? 0),
    ...number('leaseUntil'),
    ...text('claimant', 'claimedBy'),
    ...text('certId', 'certificateId'),
    ...text('previousCertId', 'previousCertificateId'),
    ...text('keyDigest'),
    ...(stateOfApplyState(Number(item.applyState?.N)) === 'registered'
      ? { issuedAt: Number(item.timestamp?.N ?? 0) }
      : {}),
    ...number('issuedAt'),
    ...number('deliveredAt'),
    ...number('tokenExpiresAt'),
    ...sealedKeysOf(item),
    ...text('policyName'),
    ...text('thingTypeName'),
    ...text('thingGroupName'),
    ...createsOf(item),
    ...ownKeyOf(item),
    ...(item.condemned?.SS === undefined ? {} : { pendingDeletion: item.condemned.SS }),
    ...(item.deleted?.SS === undefined ? {} : { deleted: item.deleted.SS }),
    ...(item.removal?.S === undefined ? {} : { removal: item.removal.S as Removal }),
  };
}

export function itemOfCall({ at, keyDigest }: CreateIntent): AttributeValue {
  return { M: { at: N(at), ...(keyDigest === undefined ? {} : { key: S(keyDigest) }) } };
}

function createsOf(item: Item): Pick<Device, 'createIntents'> {
  const calls = Object.entries(item.creates?.M ?? {}).map(([attempt, call]): [string, CreateIntent] => [
    attempt,
    { at: Number(call.M?.at?.N ?? 0), ...(call.M?.key?.S === undefined ? {} : { keyDigest: call.M.key.S }) },
  ]);
  return calls.length === 0 ? {} : { createIntents: Object.fromEntries(calls) };
}

export function itemOfOwnKey({ csrPem, keyDigest, sealedKey }: OwnKey): AttributeValue {
  return { M: { csr: S(csrPem), key: S(keyDigest), sealed: S(sealedKey) } };
}

function ownKeyOf(item: Item): Pick<Device, 'ownKey'> {
  const { csr, key, sealed } = item.ownKey?.M ?? {};
  if (csr?.S === undefined || key?.S === undefined || sealed?.S === undefined) return {};
  return { ownKey: { csrPem: csr.S, keyDigest: key.S, sealedKey: sealed.S } };
}

export function itemOfSealedKeys(sealedKeys: Readonly<Record<string, string>>): AttributeValue {
  return { M: Object.fromEntries(Object.entries(sealedKeys).map(([gateway, sealed]) => [gateway, S(sealed)])) };
}

function sealedKeysOf(item: Item): Pick<Device, 'sealedKeys'> {
  if (item.sealedKeys?.M === undefined) return {};
  const sealed = Object.entries(item.sealedKeys.M).map(([gateway, { S: text = '' }]) => [gateway, text]);
  return { sealedKeys: Object.fromEntries(sealed) };
}
