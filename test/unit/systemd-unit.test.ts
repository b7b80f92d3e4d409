import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { find } from '../support/lacks.ts';

const file = 'deploy/systemd/cvm.service';
const service = readFileSync(file, 'utf8');
const page = readFileSync('docs/install.md', 'utf8');
const valueIn = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(service)?.[1];
const analyze = find('systemd-analyze');
const run = (...argv: string[]) => execFileSync(analyze ?? '', argv, { encoding: 'utf8', stdio: 'pipe' });

describe('the systemd unit', () => {
  it('refuses a system call that its filter does not know, and does not kill the process: Node.js asks for io_uring at its start', () => {
    expect(valueIn('SystemCallFilter')).toBeDefined();
    expect(valueIn('SystemCallErrorNumber')).toBe('EPERM');
  });

  it('starts the gateway again whatever ended it, without capabilities, as a user of its own whose files nobody else reads', () => {
    expect(valueIn('Restart')).toBe('always');
    expect([valueIn('CapabilityBoundingSet'), valueIn('AmbientCapabilities')]).toEqual(['', '']);
    expect([valueIn('User'), valueIn('UMask'), valueIn('StateDirectoryMode')]).toEqual(['cvm', '0077', '0700']);
    expect(service).not.toMatch(/^ExecReload=/m);
  });

  it('runs in the folder that docs/install.md sets up, and has settings in one place', () => {
    const folder = valueIn('WorkingDirectory') ?? 'none';
    expect(folder).toBe(`/var/lib/${valueIn('StateDirectory')}`);
    for (const needed of [
      `--owner=cvm --group=cvm ${folder}`,
      `.env.example ${folder}/.env`,
      `env --chdir=${folder} cvm`,
    ])
      expect(page).toContain(needed);
    expect(valueIn('EnvironmentFile')).toBeUndefined();
    expect(service).not.toMatch(/^Environment=.*(CVM_|AWS_|REDIS_)/m);
  });

  it.runIf(analyze)('is one in which systemd finds no mistake, and little to attack', () => {
    expect(run('verify', file)).toBe('');
    const said = run('security', '--offline=true', '--no-pager', file);
    expect(said).toMatch(/Overall exposure level for cvm\.service: [01]\.\d OK/);
  });
});
