import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const file = 'deploy/systemd/cvm.service';
const unit = readFileSync(file, 'utf8');
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;

describe('the systemd unit', () => {
  it('sends no SIGHUP unless somebody has set CVM_LOG_FILE: without it, SIGHUP ends a service', () => {
    expect(unit).not.toMatch(/^ExecReload=/m);
    expect(unit).toMatch(/^#ExecReload=.*HUP/m);
  });

  it('runs as a user of its own, without capabilities, and writes its own folder only', () => {
    for (const line of [
      'User=cvm',
      'NoNewPrivileges=yes',
      'ProtectSystem=strict',
      'CapabilityBoundingSet=',
      'StateDirectory=cvm',
    ])
      expect(unit.split('\n')).toContain(line);
    // V8 makes code at run time
    expect(unit).not.toMatch(/^MemoryDenyWriteExecute/m);
  });

  it.skipIf(!hasSystemd)('is one that systemd takes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-unit-'));
    writeFileSync(join(folder, 'cvm.service'), unit);
    try {
      execFileSync('systemd-analyze', ['verify', '--man=no', join(folder, 'cvm.service')], { stdio: 'pipe' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
