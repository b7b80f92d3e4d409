import { beforeEach, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import type { Device } from '../../registry/device.ts';
import { memoryRows, upsertBothIn } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { createRegistry } from '../../registry/rules/registry.ts';

const tokenHash = hashToken('the-right-token-of-the-device');

/** How a client meets a write that took effect and whose answer was lost: it fails, or repeats it and finds its condition broken. */
const ways = ['fails', 'repeats'] as const;

describe('a write of an operator whose answer is lost', () => {
  let rows: Map<string, Device>;
  let lose: (typeof ways)[number] | undefined;
  let happens: boolean;
  let ids = 0;
  let registry: Registry;
  beforeEach(() => {
    [rows, lose, happens] = [new Map(), undefined, true];
    const store = memoryRows(rows);
    const losing = async (write: () => Promise<boolean>): Promise<boolean> => {
      if (lose === undefined) return write();
      if (happens) await write();
      if (lose === 'fails') throw new Error('no answer');
      return write();
    };
    registry = createRegistry(
      {
        devices: {
          ...store,
          put: (key, row, condition) => losing(() => store.put(key, row, condition)),
          update: (key, update, condition) => losing(() => store.update(key, update, condition)),
        },
        keys: memoryRows(new Map()),
        upsertBoth: upsertBothIn(rows, new Map()),
      },
      () => `id ${++ids}`,
    );
  });

  const enrol = (serial: string) => registry.enrol({ serial, tokenHash, enrolledAt: 5 });
  async function rowOf(serial: string): Promise<Device> {
    const row = rows.get(serial);
    if (row === undefined) throw new Error(`${serial} is not there`);
    return row;
  }
  const newToken = { tokenHash: hashToken('the-new-token-of-the-device') };
  const decisions: [string, (device: Device) => Promise<boolean>, Partial<Device>][] = [
    ['block', (device) => registry.block(device), { state: 'blocked' }],
    ['reissue', (device) => registry.reissue(device, newToken), newToken],
    ['retire', (device) => registry.retire(device, 'with-thing'), { removal: 'with-thing' }],
  ];

  it.each(ways)('counts as done when the device was enrolled by it: the client %s', async (way) => {
    lose = way;
    expect(await enrol('A')).toBe(true);
    // another enrolment of the same serial is not this one
    await expect(registry.enrol({ serial: 'A', tokenHash, enrolledAt: 6 }).catch(() => false)).resolves.toBe(false);
    await expect(registry.enrol({ serial: 'A', ...newToken, enrolledAt: 5 }).catch(() => false)).resolves.toBe(false);
  });

  it.each(ways.flatMap((way) => decisions.map(([name, decide, after]) => ({ name, decide, after, way }))))(
    'counts as done where it has happened: $name, the client $way',
    async ({ decide, after, way }) => {
      await enrol('A');
      const device = await rowOf('A');
      lose = way;
      expect(await decide(device)).toBe(true);
      expect(await rowOf('A')).toMatchObject({ ...after, attempt: 1 });
    },
  );

  it.each(ways)('counts as done where it has happened: unblock, the client %s', async (way) => {
    await enrol('A');
    await registry.block(await rowOf('A'));
    const blocked = await rowOf('A');
    lose = way;
    expect(await registry.unblock(blocked)).toBe(true);
    expect(await rowOf('A')).toMatchObject({ state: 'enrolled', attempt: 2 });
  });

  it.each(decisions)('is an error, as it came, where it has not happened: %s', async (_name, decide) => {
    await enrol('A');
    const device = await rowOf('A');
    [lose, happens] = ['fails', false];
    await expect(decide(device)).rejects.toThrow('no answer');
    expect(await rowOf('A')).toEqual(device);
  });

  it.each(decisions)('is not taken for done where another decision came first: %s', async (name, decide) => {
    await enrol('A');
    const device = await rowOf('A');
    if (name === 'block') await registry.reissue(device, { tokenHash: hashToken('the-token-of-another-operator') });
    else await registry.block(device);
    expect(await decide(device)).toBe(false);
  });
});
