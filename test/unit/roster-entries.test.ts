import { describe, expect, it } from 'vitest';
import { createRosterEntries } from '../../broker/roster-entries.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken } from '../../protocol/token.ts';
import { readRosterEntry, toStoredRosterEntry } from '../../queue/stored-forms.ts';
import { earlierGatewayIdOf, sealDeviceKeys } from '../../sealing/device-keys.ts';
import { newGateway, tableKey } from '../support/trust.ts';

const [serial, token, tokenHash] = ['SN-1', 'the-token-of-the-device', hashToken('the-token-of-the-device')];
const [gateway, other, table] = [newGateway(), newGateway(), tableKey()];
const { pair, identity } = gateway;
const earlier = { ...identity, id: earlierGatewayIdOf(pair.publicKey) };
const sealedTo = (...gateways: { id: string; publicKey: string }[]) => ({
  serial,
  tokenHash,
  sealedKeys: sealDeviceKeys(serial, token, gateways),
});

/** The entries of a gateway after it has read this one, with changes made in Redis. */
function entriesWith(entry: ReturnType<typeof sealedTo>, change: object = {}, signedBy = table) {
  const unsigned: string[] = [];
  let trusted: string | undefined = table.publicKey;
  const entries = createRosterEntries(gateway, {
    tableKey: () => trusted,
    onUnsigned: (name) => void unsigned.push(name),
  });
  const stored = readRosterEntry(toStoredRosterEntry(entry, signedBy));
  if (stored === undefined) throw new Error('the entry is malformed');
  entries.replaceSome([serial], [{ serial, ...stored, ...change }]);
  const trust = (key: string | undefined) => {
    trusted = key;
  };
  return { ...entries, unsigned, trust };
}

describe('an entry of the roster', () => {
  it('that the table signed gives the token and the keys of the device', () => {
    const entries = entriesWith(sealedTo(other.identity, identity));
    expect(entries.matchesToken(serial, tokenHash)).toBe(true);
    expect(entries.matchesToken(serial, hashToken('another'))).toBe(false);
    expect(entries.keysOf(serial)?.keys.psk).toEqual(derivePsk(serial, token));
    expect(entries.keysOf('SN-2')).toBeUndefined();
    expect(entries.unsigned).toEqual([]);
  });

  it('that was sealed to this gateway under the id of version 0.1.0 opens', () => {
    expect(entriesWith(sealedTo(earlier)).keysOf(serial)?.keys.psk).toEqual(derivePsk(serial, token));
  });

  it.each([
    ['another token', { tokenHash: hashToken('another') }, hashToken('another')],
    ['other keys for this gateway', { sealedKeys: sealedTo(identity).sealedKeys }, tokenHash],
    ['the keys of one more gateway', { sealedKeys: sealedTo(identity, other.identity).sealedKeys }, tokenHash],
    ['no keys', { sealedKeys: {} }, tokenHash],
  ])('into which a writer of Redis put %s counts for nothing, and is looked up in the table', (_what, change, hash) => {
    const entries = entriesWith(sealedTo(identity), change);
    expect(entries.matchesToken(serial, hash)).toBe(false);
    expect(entries.keysOf(serial)).toBeUndefined();
    expect(entries.unsigned).toContain(serial);
  });

  it('of another device, or of another table, counts for nothing', () => {
    const moved = entriesWith({ ...sealedTo(identity), serial: 'SN-2' });
    expect(moved.matchesToken(serial, tokenHash)).toBe(false);
    const foreign = entriesWith(sealedTo(identity), {}, tableKey(2));
    expect(foreign.matchesToken(serial, tokenHash)).toBe(false);
    expect(foreign.keysOf(serial)).toBeUndefined();
  });

  it('counts from the moment at which the gateway has met its table', () => {
    const entries = entriesWith(sealedTo(identity));
    entries.trust(undefined);
    expect(entries.keysOf(serial)).toBeUndefined();
    entries.trust(table.publicKey);
    expect(entries.keysOf(serial)).toBeDefined();
  });
});
