import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Device } from '../../registry/device.ts';
import { type CrashRow, crashTable, type Found } from './crash-table.ts';
import type { Gate } from './explore.ts';
import { openWorld } from './world.ts';

const page = readFileSync('docs/issuance-cycle.md', 'utf8').replace(/ +/g, ' ');

describe('a process killed right after', () => {
  it.each(crashTable.map((row) => ({ ...row })))('$after: $found. Healed by $healedBy', async (row) => {
    const { world, recover } = await crash(row);
    expect(foundIn(world.snapshot())).toMatchObject(row.state);
    world.check();
    recover();
    await world.finish();
  });

  it('is what docs/issuance-cycle.md tells of, row by row', () => {
    for (const { after, found, healedBy } of crashTable)
      expect(page).toContain(`| ${after} | ${found} | ${healedBy} |`);
  });
});

/** Runs the job until the call has had its effect, and lets its process hear nothing more. */
async function crash({ after: name, start = 'enrolled', job, call }: CrashRow) {
  let [dead, recovering] = [false, false];
  const gate: Gate = async (_process, label, act) => {
    if (dead && !recovering) return new Promise<never>(() => {});
    const answer = await act();
    if (recovering || !label.startsWith(call)) return answer;
    dead = true;
    return new Promise<never>(() => {});
  };
  const world = openWorld({ name, start, jobs: [job] })(gate);
  for (const { run } of world.processes) void run();
  await new Promise((resolve) => setImmediate(resolve));
  expect(dead).toBe(true);
  return {
    world,
    recover: () => {
      recovering = true;
    },
  };
}

function foundIn(snapshot: string): Found {
  const [rows, certificates, , delivered] = JSON.parse(snapshot) as [
    Device[],
    [string, boolean, string | null, number][],
    unknown,
    string[],
  ];
  const row = rows[0];
  return {
    state: row?.state,
    named: row?.certificateId !== undefined,
    intended: row?.createIntents !== undefined,
    pendingDeletion: row?.pendingDeletion?.length ?? 0,
    certificates: certificates.map(
      ([, active, thing, policies]) =>
        `${active ? 'active' : 'inactive'}${thing !== null && policies > 0 ? ', attached' : ''}`,
    ),
    kept: row?.keptReply !== undefined,
    delivered: delivered.length,
  };
}
