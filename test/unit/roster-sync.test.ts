import { describe, expect, it } from 'vitest';
import { createLog } from '../../runtime/log.ts';
import { startRosterSync } from '../../worker/roster-sync.ts';
import { noDirectory } from '../fakes/memory-roster.ts';

describe('the roster sync', () => {
  it('says once that the table is away, and once that it is back', async () => {
    let away = true;
    let asked = 0;
    const lines: { level: number; msg: string }[] = [];
    const log = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    const roster = {
      async gateways() {
        asked++;
        if (away) throw new Error('connect ECONNREFUSED');
        return [];
      },
      lead: async () => false,
      publishTableKey: async () => {},
    };
    const deps = { registry: {}, changes: {}, gateways: {}, roster } as never;
    const sync = startRosterSync({ ...(deps as object), log, now: Date.now, times: { pollMs: 5 } } as never);
    await expect.poll(() => asked).toBeGreaterThan(3);
    expect(lines.map(({ level }) => level)).toEqual([40]);
    away = false;
    await expect.poll(() => lines.length).toBe(2);
    const before = asked;
    await expect.poll(() => asked).toBeGreaterThan(before + 3);
    await sync.close();
    expect(lines.map(({ msg }) => msg)).toEqual([
      'the roster cannot be brought up to date; trying again until it can',
      'the roster is brought up to date again',
    ]);
  });

  it('believes no time that lies ahead: it compares the whole table', async () => {
    const now = 1_000_000;
    const ahead = now + 7_200_000;
    const positions: object[] = [];
    const yielded: string[] = [];
    const deps = {
      registry: { list: async function* () {} },
      changes: { latest: async () => 5 },
      directory: noDirectory,
      roster: {
        publishTableKey: async () => {},
        gateways: async () => [],
        lead: async () => true,
        stopLeading: async (holder: string) => void yielded.push(holder),
        takeRequestedLookups: async () => [],
        position: async () => ({ change: 5, wholeAt: ahead }),
        setPosition: async (position: object) => void positions.push(position),
        pages: async function* () {},
        write: async () => {},
      },
    };
    const sync = startRosterSync({ ...deps, log: createLog('silent'), now: () => now, times: { pollMs: 5 } } as never);
    await expect.poll(() => positions.length).toBeGreaterThan(0);
    await sync.close();
    expect(positions[0]).toEqual({ change: 5, wholeAt: now });
    // the next worker follows at once
    expect(yielded).toHaveLength(1);
  });
});
