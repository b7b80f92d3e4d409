import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memoryFacts } from '../../app/machine.ts';

const mb = 1024 * 1024;

describe('the memory that doctor looks at', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'cvm-cgroup-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  /** A group with its files, and the file that says which group is the own one. */
  function facts(own: string, groups: Readonly<Record<string, Readonly<Record<string, string | number>>>>) {
    for (const [path, files] of Object.entries(groups)) {
      mkdirSync(join(root, path), { recursive: true });
      for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), `${text}\n`);
    }
    writeFileSync(join(root, 'own'), own);
    return memoryFacts(root, join(root, 'own'));
  }
  const v2 = (max: string | number, current = 50 * mb, cached = 10 * mb) => ({
    ...{ 'memory.max': max, 'memory.current': current, 'memory.stat': `anon 1\ninactive_file ${cached}` },
  });

  it('is that of the container', () => {
    expect(facts('0::/', { '': v2(256 * mb) })).toEqual({ totalBytes: 256 * mb, freeBytes: 216 * mb });
  });

  it('is that of the container also where it sees the groups of its host, and of a systemd unit', () => {
    const found = facts('0::/system.slice/docker-1.scope', {
      '': v2('max'),
      'system.slice/docker-1.scope': v2(512 * mb),
    });
    expect(found.totalBytes).toBe(512 * mb);
  });

  it('is what the tightest group on the way up leaves', () => {
    const found = facts('0::/a.slice/b.service', {
      'a.slice': v2(100 * mb, 90 * mb, 0),
      'a.slice/b.service': v2(400 * mb),
    });
    expect(found).toEqual({ totalBytes: 100 * mb, freeBytes: 10 * mb });
  });

  it('is that of the container with version 1, whose largest number is no limit', () => {
    const of = (limit: string | number) => ({
      'memory.limit_in_bytes': limit,
      ...{ 'memory.usage_in_bytes': 60 * mb, 'memory.stat': `inactive_file 1\ntotal_inactive_file ${mb}` },
    });
    const own = '4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n';
    expect(facts(own, { 'memory/docker/1': of(128 * mb) }).totalBytes).toBe(128 * mb);
    expect(facts(own, { 'memory/docker/1': of('9223372036854771712') }).totalBytes).toBe(totalmem());
    // in a container, its own group is the root of the mount
    expect(facts(own, { memory: of(64 * mb) }).totalBytes).toBe(64 * mb);
  });

  it('is that of the machine without groups', () => {
    const { totalBytes, freeBytes } = facts('', {});
    expect(totalBytes).toBe(totalmem());
    expect(freeBytes).toBeGreaterThan(0);
  });
});
