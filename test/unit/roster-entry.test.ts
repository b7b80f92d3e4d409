import { describe, expect, it } from 'vitest';
import { createRosterEntries } from '../../broker/roster-entries.ts';
import { hashToken } from '../../protocol/token.ts';
import { readRosterEntry, toStoredRosterEntry } from '../../queue/stored-forms.ts';
import type { Device } from '../../registry/device.ts';
import { fingerprint, rosterEntryOf } from '../../worker/roster-entry.ts';
import { newGateway, tableKey } from '../support/trust.ts';

const [now, window] = [1_800_000_000_000, 86_400_000];
const tokenHash = hashToken('the token');
const device = (of: Partial<Device> = {}): Device => ({
  serial: 'SN',
  tokenHash,
  state: 'enrolled',
  requestedAt: 0,
  enrolledAt: 0,
  attempt: 0,
  ...of,
});

const table = tableKey();
const emptyRoster = () => createRosterEntries(newGateway(), { tableKey: () => table.publicKey, onUnsigned() {} });

describe('a token in the roster', () => {
  /** As the broker has it: from the row by way of Redis into its memory. */
  function inBroker(row: Device) {
    const entry = rosterEntryOf(row, window);
    const stored = readRosterEntry(toStoredRosterEntry(entry, table));
    const entries = emptyRoster();
    entries.replaceSome([entry.serial], stored === undefined ? [] : [{ serial: entry.serial, ...stored }]);
    return { entries, isCurrent: (at = now) => entries.isCurrent('SN', tokenHash, at) };
  }

  it.each<[string, Partial<Device>]>([
    ['enrolled', {}],
    ['enrolled, and its token expires later', { tokenExpiresAt: now + 1 }],
    ['being provisioned', { state: 'provisioning' }],
    ['served, and in its replay window', { state: 'registered', issuedAt: now - window + 1, tokenExpiresAt: 1 }],
    ['served, in a row of five fields', { state: 'registered', requestedAt: now - window + 1 }],
  ])('is current while its device is %s', (_state, row) => {
    expect(inBroker(device(row)).isCurrent()).toBe(true);
  });

  it.each<[string, Partial<Device>]>([
    ['blocked', { state: 'blocked' }],
    ['not served, and its token has expired', { tokenExpiresAt: now }],
    ['served, and has acknowledged its certificate', { state: 'registered', issuedAt: now, deliveredAt: now }],
    ['served, and its replay window is over', { state: 'registered', issuedAt: now - window }],
  ])('is right and not current while its device is %s', (_state, row) => {
    const { entries, isCurrent } = inBroker(device(row));
    expect(entries.matchesToken('SN', tokenHash)).toBe(true);
    expect(isCurrent()).toBe(false);
  });

  it('ends by itself, without a change of the entry', () => {
    const { isCurrent } = inBroker(device({ tokenExpiresAt: now }));
    expect([isCurrent(now - 1), isCurrent(now)]).toEqual([true, false]);
  });

  it('is not current under another serial, with another hash, or after its device was removed', () => {
    const { entries, isCurrent } = inBroker(device());
    expect(entries.isCurrent('SN', hashToken('another'), now)).toBe(false);
    expect(entries.isCurrent('SN-2', tokenHash, now)).toBe(false);
    entries.replaceSome(['SN'], []);
    expect(isCurrent()).toBe(false);
  });

  it('is current without end in an entry that says none, and one of an earlier version says none', () => {
    const { entries } = inBroker(device());
    expect(entries.isCurrent('SN', tokenHash, 8.64e15)).toBe(false);
    expect(entries.isCurrent('SN', tokenHash, now + 100 * 365 * window)).toBe(true);
  });

  it.each([-5, 0.5, now + 0.5, 1e300])('is right whatever number the row has for its end: %d', (tokenExpiresAt) => {
    const { entries, isCurrent } = inBroker(device({ tokenExpiresAt }));
    expect(entries.matchesToken('SN', tokenHash)).toBe(true);
    expect(isCurrent()).toBe(tokenExpiresAt === 1e300);
  });

  it('is not right when its end was changed after the table had signed it', () => {
    const stored = toStoredRosterEntry(rosterEntryOf(device({ state: 'blocked' }), window), table);
    const changes = [-1, 0.5, 1e300, now + 1, undefined].map((validUntil) => ({ ...JSON.parse(stored), validUntil }));
    for (const changed of changes) {
      const entry = readRosterEntry(JSON.stringify(changed));
      const entries = emptyRoster();
      entries.replaceSome(['SN'], entry === undefined ? [] : [{ serial: 'SN', ...entry }]);
      expect(entries.matchesToken('SN', tokenHash)).toBe(false);
    }
  });

  it('is written to the roster again when only its end has changed', () => {
    const [open, blocked] = [rosterEntryOf(device(), window), rosterEntryOf(device({ state: 'blocked' }), window)];
    expect(fingerprint(open)).not.toBe(fingerprint(blocked));
    expect(fingerprint(open)).toBe(fingerprint(rosterEntryOf(device({ state: 'provisioning' }), window)));
  });
});
