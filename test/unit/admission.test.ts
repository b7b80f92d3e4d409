import { describe, expect, it } from 'vitest';
import { createAdmission, groupOf } from '../../broker/listener/admission.ts';

const limits = { maxConnections: 10, maxConnectionsPerAddress: 4, maxPending: 5, maxPendingPerAddress: 3 };
const socket = () => {
  const made = {
    cut: false,
    destroy() {
      made.cut = true;
    },
  };
  return made;
};

describe('admission', () => {
  it('cuts the oldest connection of an address that has not come to its CONNECT, when that has too many of them', () => {
    const admission = createAdmission(limits);
    const [first, ...rest] = [socket(), socket(), socket(), socket()];
    for (const each of [first, ...rest]) expect(admission.admit(each as never, '10.0.0.1')).toBeDefined();
    expect(first?.cut).toBe(true);
    expect(rest.map(({ cut }) => cut)).toEqual([false, false, false]);
  });

  it('cuts the oldest of all when there are too many in total: a flood of strangers does not keep a device out', () => {
    const admission = createAdmission(limits);
    const strangers = Array.from({ length: 5 }, socket);
    for (const [index, each] of strangers.entries()) admission.admit(each, `10.0.0.${index}`);
    const device = socket();
    expect(admission.admit(device, '10.0.1.1')).toBeDefined();
    expect(strangers.map(({ cut }) => cut)).toEqual([true, false, false, false, false]);
    expect(admission.counts()).toMatchObject({ pending: 5, evicted: 1 });
  });

  it('cuts the oldest that has proved nothing after its CONNECT, when no other place is left', () => {
    const admission = createAdmission(limits);
    const idle = Array.from({ length: 10 }, socket);
    for (const [index, each] of idle.entries()) admission.admit(each, `10.0.0.${index}`)?.connected();
    const silent = socket();
    admission.admit(silent, '10.0.1.1');
    expect(idle.map(({ cut }) => cut)).toEqual([true, ...Array(9).fill(false)]);
    // who has not even come to its CONNECT goes first
    expect(admission.admit(socket(), '10.0.1.2')).toBeDefined();
    expect(silent.cut).toBe(true);
    expect(idle.filter(({ cut }) => cut)).toHaveLength(1);
    expect(admission.counts()).toMatchObject({ open: 10, evicted: 2, refused: 0 });
  });

  it('makes an address that has all its places give one of its own', () => {
    const admission = createAdmission(limits);
    const [stranger, ...own] = [socket(), socket(), socket(), socket(), socket()];
    admission.admit(stranger as never, '10.0.9.9')?.connected();
    for (const each of own) admission.admit(each, '10.0.0.1')?.connected();
    expect(admission.admit(socket(), '10.0.0.1')).toBeDefined();
    expect([stranger?.cut, ...own.map(({ cut }) => cut)]).toEqual([false, true, false, false, false]);
  });

  it('never cuts a connection that has proved its token', () => {
    const admission = createAdmission(limits);
    const device = socket();
    const ticket = admission.admit(device, '10.0.0.1');
    ticket?.connected();
    ticket?.proven();
    ticket?.connected();
    for (let count = 0; count < 100; count++) admission.admit(socket(), `10.1.0.${count}`)?.closed();
    for (let count = 0; count < 20; count++) admission.admit(socket(), `10.0.0.${count}`)?.connected();
    for (let count = 0; count < 20; count++) admission.admit(socket(), '10.0.0.1')?.connected();
    expect(device.cut).toBe(false);
  });

  it('refuses more than one address may have, and more than there may be; places become free again', () => {
    const admission = createAdmission(limits);
    const enter = () => {
      const ticket = admission.admit(socket(), '10.0.0.1');
      ticket?.proven();
      return ticket;
    };
    const tickets = Array.from({ length: 4 }, enter);
    expect(admission.admit(socket(), '10.0.0.1')).toBeUndefined();
    expect(admission.admit(socket(), '10.0.0.2')).toBeDefined();
    tickets[0]?.closed();
    tickets[0]?.closed();
    expect(admission.admit(socket(), '10.0.0.1')).toBeDefined();
    expect(admission.counts()).toMatchObject({ open: 5, refused: 1 });
    for (let count = 0; count < 9; count++) admission.admit(socket(), `10.0.1.${count}`)?.proven();
    expect(admission.counts()).toMatchObject({ open: 10, pending: 0, unproven: 0 });
    expect(admission.admit(socket(), '10.0.2.1')).toBeUndefined();
  });

  it('counts those of an address that have not come to their CONNECT, and no others', () => {
    const admission = createAdmission({ ...limits, maxConnectionsPerAddress: 10 });
    const sockets = Array.from({ length: 6 }, socket);
    for (const each of sockets) admission.admit(each, '10.0.0.1')?.connected();
    for (const each of Array.from({ length: 3 }, socket)) admission.admit(each, '10.0.0.1');
    expect(sockets.some(({ cut }) => cut)).toBe(false);
    expect(admission.counts()).toMatchObject({ open: 9, pending: 3, evicted: 0 });
  });

  it('knows how many an address has left when some of them end', () => {
    const admission = createAdmission({ ...limits, maxConnectionsPerAddress: 2 });
    const enter = () => {
      const ticket = admission.admit(socket(), '10.0.0.1');
      ticket?.proven();
      return ticket;
    };
    const first = enter();
    expect([enter(), enter()].map((ticket) => ticket !== undefined)).toEqual([true, false]);
    first?.closed();
    expect([enter(), enter()].map((ticket) => ticket !== undefined)).toEqual([true, false]);
  });

  it('forgets a connection that was cut, and takes its end for nothing', () => {
    const admission = createAdmission({ ...limits, maxConnections: 1 });
    const first = admission.admit(socket(), '10.0.0.1');
    const second = admission.admit(socket(), '10.0.0.2');
    first?.closed();
    first?.connected();
    first?.proven();
    expect(admission.counts()).toMatchObject({ open: 1, pending: 1, unproven: 0 });
    second?.closed();
    expect(admission.counts()).toMatchObject({ open: 0, pending: 0 });
  });

  it.each([
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['fe80::1', 'fe80:0:0:0:1:2:3:4'],
  ])('takes %s and %s for one', (one, other) => {
    const admission = createAdmission({ ...limits, maxConnectionsPerAddress: 1 });
    admission.admit(socket(), one)?.proven();
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
