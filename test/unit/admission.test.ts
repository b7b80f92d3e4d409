import { describe, expect, it } from 'vitest';
import { limitsFor } from '../../broker/limits.ts';
import { createAdmission } from '../../broker/listener/admission.ts';
import { groupOf } from '../../runtime/addresses.ts';

const limits = {
  maxConnections: 10,
  maxConnectionsPerAddress: 4,
  maxPending: 5,
  maxPendingPerAddress: 3,
  maxConnectionsPerSerial: 2,
};
let serials = 0;
const socket = () => {
  const made = {
    cut: false,
    destroy() {
      made.cut = true;
    },
  };
  return made;
};

const rightOf = (serial: string, isCurrent = () => true, onLost = () => {}) => ({ serial, isCurrent, onLost });

describe('admission', () => {
  it('evicts the oldest connection of an address before its CONNECT, when the address has too many of those', () => {
    const admission = createAdmission(limits);
    const [first, ...rest] = [socket(), socket(), socket(), socket()];
    for (const each of [first, ...rest]) admission.admit(each as never, '10.0.0.1')?.begun();
    expect(first?.cut).toBe(true);
    expect(rest.map(({ cut }) => cut)).toEqual([false, false, false]);
  });

  it('closes none of the devices of one address that come at once: all of its connections may be before their CONNECT', () => {
    const admission = createAdmission(limitsFor({ maxConnections: 10_000, maxConnectionsPerAddress: 2500 }));
    const devices = Array.from({ length: 2500 }, socket);
    for (const each of devices) admission.admit(each, '10.0.0.1')?.begun();
    expect(devices.filter(({ cut }) => cut)).toEqual([]);
  });

  it('closes none of the devices of a site that come at once: all slots may wait for their turn at the handshake', () => {
    const admission = createAdmission(limitsFor({ maxConnections: 10_000, maxConnectionsPerAddress: 2000 }));
    const devices = Array.from({ length: 10_000 }, socket);
    for (const [index, each] of devices.entries()) expect(admission.admit(each, `10.0.0.${index % 200}`)).toBeDefined();
    expect(devices.filter(({ cut }) => cut)).toEqual([]);
    expect(admission.counts()).toMatchObject({ waiting: 10_000, pending: 0, evicted: 0 });
  });

  it('evicts the oldest of all when there are too many in total: a flood of strangers does not keep a device out', () => {
    const admission = createAdmission(limits);
    const strangers = Array.from({ length: 5 }, socket);
    for (const [index, each] of strangers.entries()) admission.admit(each, `10.0.0.${index}`)?.begun();
    const device = socket();
    admission.admit(device, '10.0.1.1')?.begun();
    expect(strangers.map(({ cut }) => cut)).toEqual([true, false, false, false, false]);
    expect(admission.counts()).toMatchObject({ pending: 5, evicted: 1 });
  });

  it('evicts the oldest connection without a verified token, when no other slot is left', () => {
    const admission = createAdmission(limits);
    const idle = Array.from({ length: 10 }, socket);
    for (const [index, each] of idle.entries()) admission.admit(each, `10.0.0.${index}`)?.connected();
    const silent = socket();
    admission.admit(silent, '10.0.1.1');
    expect(idle.map(({ cut }) => cut)).toEqual([true, ...Array(9).fill(false)]);
    // the device that is on its way to its CONNECT is not closed for those that are idle
    expect(admission.admit(socket(), '10.0.1.2')).toBeDefined();
    expect(silent.cut).toBe(false);
    expect(idle.filter(({ cut }) => cut)).toHaveLength(2);
    expect(admission.counts()).toMatchObject({ open: 10, evicted: 2, refused: 0 });
  });

  it('evicts a connection of the same address when the address has all its slots', () => {
    const admission = createAdmission(limits);
    const [stranger, ...own] = [socket(), socket(), socket(), socket(), socket()];
    admission.admit(stranger as never, '10.0.9.9')?.connected();
    for (const each of own) admission.admit(each, '10.0.0.1')?.connected();
    expect(admission.admit(socket(), '10.0.0.1')).toBeDefined();
    expect([stranger?.cut, ...own.map(({ cut }) => cut)]).toEqual([false, true, false, false, false]);
  });

  it('never evicts a connection with a verified token', () => {
    const admission = createAdmission(limits);
    const device = socket();
    const slot = admission.admit(device, '10.0.0.1');
    slot?.connected();
    slot?.verified(rightOf(`SN-${++serials}`));
    slot?.connected();
    for (let count = 0; count < 100; count++) admission.admit(socket(), `10.1.0.${count}`)?.closed();
    for (let count = 0; count < 20; count++) admission.admit(socket(), `10.0.0.${count}`)?.connected();
    for (let count = 0; count < 20; count++) admission.admit(socket(), '10.0.0.1')?.connected();
    expect(device.cut).toBe(false);
  });

  it('limits the connections of one device: its newest connection closes its oldest one, and no connection of others', () => {
    const admission = createAdmission(limits);
    const other = socket();
    admission.admit(other, '10.0.0.9')?.verified(rightOf('other'));
    const own = [socket(), socket(), socket(), socket()];
    for (const [index, each] of own.entries()) {
      const slot = admission.admit(each, `10.0.1.${index}`);
      slot?.verified(rightOf('one'));
      // a token that is right is verified at every request
      slot?.verified(rightOf('one'));
    }
    expect([other, ...own].map(({ cut }) => cut)).toEqual([false, true, true, false, false]);
    expect(admission.counts()).toMatchObject({ open: 3, evicted: 2 });
  });

  it('takes the better right from connections whose token is not current any more: they go before those of strangers', () => {
    const admission = createAdmission(limits);
    const [current, lost, stranger] = [socket(), socket(), socket()];
    const state = { current: true, told: 0 };
    const first = admission.admit(stranger, '10.0.0.1');
    first?.connected();
    admission.admit(current, '10.0.0.2')?.verified(rightOf('good'));
    const isCurrent = () => state.current;
    const slot = admission.admit(lost, '10.0.0.3');
    slot?.verified(rightOf('blocked', isCurrent, () => state.told++));
    admission.review();
    expect([state.told, admission.counts().unverified]).toEqual([0, 1]);
    state.current = false;
    admission.review(['good', 'unknown']);
    expect(state.told).toBe(0);
    admission.review(['blocked']);
    admission.review();
    expect([state.told, admission.counts().unverified, lost.cut]).toEqual([1, 2, false]);
    for (let count = 0; count < 8; count++) admission.admit(socket(), `10.0.1.${count}`)?.connected();
    expect([lost.cut, stranger.cut, current.cut]).toEqual([true, false, false]);
  });

  it('gives the better right back with another token of the device', () => {
    const admission = createAdmission(limits);
    const device = socket();
    const slot = admission.admit(device, '10.0.0.1');
    slot?.verified(rightOf('SN', () => false));
    admission.review();
    slot?.verified(rightOf('SN'));
    admission.review();
    expect(admission.counts().unverified).toBe(0);
    for (let count = 0; count < 20; count++) admission.admit(socket(), `10.0.1.${count}`)?.connected();
    expect(device.cut).toBe(false);
  });

  it('closes the oldest of the larger class, and counts those that may have been devices: they had sent their CONNECT', () => {
    const admission = createAdmission({ ...limits, maxPending: 10 });
    const admit = (address: string) => {
      const made = socket();
      const slot = admission.admit(made, address);
      slot?.begun();
      return { made, slot };
    };
    const idle = Array.from({ length: 4 }, (_, index) => admit(`10.0.0.${index}`));
    for (const { slot } of idle) slot?.connected();
    const silent = Array.from({ length: 6 }, (_, index) => admit(`10.0.1.${index}`));
    silent.push(admit('10.0.2.1'));
    expect([silent[0]?.made.cut, admission.counts().crowdedOut]).toEqual([true, 0]);
    // six before and four after their CONNECT become four and six
    for (const index of [1, 2]) silent[index]?.slot?.connected();
    admit('10.0.2.2');
    expect(idle.map(({ made }) => made.cut)).toEqual([true, false, false, false]);
    expect(admission.counts()).toMatchObject({ crowdedOut: 1, refused: 0 });
  });

  it('does the same among the connections of one address that has all its slots', () => {
    const admission = createAdmission(limits);
    const own = Array.from({ length: 4 }, socket);
    const admit = (each: ReturnType<typeof socket>) => {
      const slot = admission.admit(each, '10.0.0.1');
      slot?.begun();
      return slot;
    };
    const slots = own.map(admit);
    // the first was closed: an address may have three before their CONNECT
    for (const slot of slots.slice(1, 3)) slot?.connected();
    const [device, next] = [socket(), socket()];
    admit(device);
    admit(next);
    expect([...own, device].map(({ cut }) => cut)).toEqual([true, true, false, false, false]);
    expect(admission.counts().crowdedOut).toBe(0);
  });

  it('refuses more than one address may have, and more than there may be in total, until a slot is free again', () => {
    const admission = createAdmission(limits);
    const admit = () => {
      const slot = admission.admit(socket(), '10.0.0.1');
      slot?.verified(rightOf(`SN-${++serials}`));
      return slot;
    };
    const slots = Array.from({ length: 4 }, admit);
    expect(admission.admit(socket(), '10.0.0.1')).toBeUndefined();
    expect(admission.admit(socket(), '10.0.0.2')).toBeDefined();
    slots[0]?.closed();
    slots[0]?.closed();
    expect(admission.admit(socket(), '10.0.0.1')).toBeDefined();
    expect(admission.counts()).toMatchObject({ open: 5, refused: 1 });
    for (let count = 0; count < 9; count++)
      admission.admit(socket(), `10.0.1.${count}`)?.verified(rightOf(`SN-${++serials}`));
    expect(admission.counts()).toMatchObject({ open: 10, pending: 0, unverified: 0 });
    expect(admission.admit(socket(), '10.0.2.1')).toBeUndefined();
  });

  it('counts only the connections of an address before their CONNECT as pending', () => {
    const admission = createAdmission({ ...limits, maxConnectionsPerAddress: 10 });
    const sockets = Array.from({ length: 6 }, socket);
    for (const each of sockets) admission.admit(each, '10.0.0.1')?.connected();
    for (const each of Array.from({ length: 3 }, socket)) admission.admit(each, '10.0.0.1')?.begun();
    expect(sockets.some(({ cut }) => cut)).toBe(false);
    expect(admission.counts()).toMatchObject({ open: 9, pending: 3, evicted: 0 });
  });

  it('counts the connections of an address down when they end', () => {
    const admission = createAdmission({ ...limits, maxConnectionsPerAddress: 2 });
    const admit = () => {
      const slot = admission.admit(socket(), '10.0.0.1');
      slot?.verified(rightOf(`SN-${++serials}`));
      return slot;
    };
    const first = admit();
    expect([admit(), admit()].map((slot) => slot !== undefined)).toEqual([true, false]);
    first?.closed();
    expect([admit(), admit()].map((slot) => slot !== undefined)).toEqual([true, false]);
  });

  it('ignores what an evicted connection does afterwards', () => {
    const admission = createAdmission({ ...limits, maxConnections: 1 });
    const first = admission.admit(socket(), '10.0.0.1');
    const second = admission.admit(socket(), '10.0.0.2');
    first?.closed();
    first?.begun();
    first?.connected();
    first?.verified(rightOf(`SN-${++serials}`));
    expect(admission.counts()).toMatchObject({ open: 1, waiting: 1, pending: 0, unverified: 0 });
    second?.closed();
    expect(admission.counts()).toMatchObject({ open: 0, waiting: 0, pending: 0 });
  });

  it.each([
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['fe80::1', 'fe80:0:0:0:1:2:3:4'],
  ])('counts %s and %s under one address', (one, other) => {
    const admission = createAdmission({ ...limits, maxConnectionsPerAddress: 1 });
    admission.admit(socket(), one)?.verified(rightOf(`SN-${++serials}`));
    expect(admission.admit(socket(), other)).toBeUndefined();
    expect(admission.admit(socket(), '2001:db8:1:3::1')).toBeDefined();
  });
});

it.each([
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:db8:1::1', '2001:db8:1:0'],
  ['2001:db8::1:2:3:4:5', '2001:db8:0:1'],
  ['1:2:3:4:5::', '1:2:3:4'],
  ['1::', '1:0:0:0'],
  ['::1', '0:0:0:0'],
  ['::', '0:0:0:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['10.0.0.1', '10.0.0.1'],
  [undefined, ''],
])('the group of %s is %s', (address, group) => {
  expect(groupOf(address)).toBe(group);
});
