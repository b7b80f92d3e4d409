import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { reportTrouble } from '../../broker/trouble.ts';
import { createLog } from '../../runtime/log.ts';

describe('the trouble of a broker', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is written down as long as devices are turned away, and logged once a minute with their number and the limit', async () => {
    vi.useFakeTimers();
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-trouble-'));
    const file = join(dataDir, 'broker.trouble');
    const lines: { level: number; connections: number; cure: string }[] = [];
    const log = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    let count = 0;
    writeFileSync(file, 'of an earlier process');
    const report = reportTrouble({ dataDir, turnedAway: () => ({ total: 0, address: count }), log });
    await vi.advanceTimersByTimeAsync(60_000);
    expect([existsSync(file), lines]).toEqual([false, []]);
    for (let second = 0; second < 90; second++) {
      count++;
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(readFileSync(file, 'utf8')).toMatch(/raise CVM_MAX_CONNECTIONS_PER_ADDRESS .*slots$/m);
    expect(readFileSync(file, 'utf8')).not.toContain('CVM_MAX_CONNECTIONS,');
    expect(lines.map(({ connections, level }) => [connections, level])).toEqual([
      [5, 40],
      [60, 40],
    ]);
    expect(lines[1]?.cure).toContain('CVM_MAX_CONNECTIONS_PER_ADDRESS');
    rmSync(file);
    await vi.advanceTimersByTimeAsync(120_000);
    // the last ones are told as what is over
    expect([existsSync(file), lines.slice(2)]).toMatchObject([false, [{ level: 30, connections: 25 }]]);
    writeFileSync(file, 'x');
    await report.close();
    expect(existsSync(file)).toBe(false);
    rmSync(dataDir, { recursive: true });
  });
});
