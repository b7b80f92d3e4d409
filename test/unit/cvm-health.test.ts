import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

// it reads /proc, and runs in containers only
describe.skipIf(process.platform !== 'linux')('cvm-health', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-health-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function check(...argv: string[]): { status: number | null; said: string } {
    const env = { PATH: process.env.PATH, CVM_HEALTH_DIR: folder };
    const { status, stdout } = spawnSync('sh', ['deploy/container/cvm-health', ...argv], { env, encoding: 'utf8' });
    return { status, said: stdout };
  }
  function write(name: string, text: string, ageSeconds = 0): void {
    const file = join(folder, name);
    writeFileSync(file, text);
    const time = Date.now() / 1000 - ageSeconds;
    utimesSync(file, time, time);
  }

  it('finds a part well that has said lately that it runs, and tells no trouble', () => {
    write('broker.alive', 'alive\n');
    expect(check('--part', 'broker', '15')).toEqual({ status: 0, said: '' });
  });

  it.each([
    ['has not started', () => {}, /broker.alive does not exist.*see its log/],
    ['is frozen', () => write('broker.alive', 'alive\n', 60), /last written to 6\d s ago.*restart it/],
    ['was frozen before the clock was set back', () => write('broker.alive', 'alive\n', -60), /frozen/],
    [
      'says its trouble',
      () => {
        write('broker.alive', 'alive\n');
        write('broker.trouble', 'Redis is away: start it\n');
      },
      /^Redis is away: start it$/m,
    ],
    [
      'could not write its trouble',
      () => {
        write('broker.alive', 'alive\n');
        write('broker.trouble', '');
      },
      /free space/,
    ],
  ])('says of a part that %s what is wrong, with its cure', (_what, make, said) => {
    make();
    expect(check('--part', 'broker', '15')).toEqual({ status: 1, said: expect.stringMatching(said) });
  });

  it('sees whether a program listens on a port, and makes no connection to it', async () => {
    let connections = 0;
    const server = createServer(() => {
      connections++;
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const port = String((server.address() as AddressInfo).port);
    expect(check('--port', port)).toEqual({ status: 0, said: '' });
    await new Promise((resolve) => server.close(resolve));
    expect(check('--port', port)).toEqual({
      status: 1,
      said: expect.stringContaining(`nothing listens on port ${port}`),
    });
    expect(connections).toBe(0);
  });

  it('is not well when it is asked nothing, or something else', () => {
    for (const argv of [[], ['--prt', '1']]) expect(check(...argv).status).toBe(1);
  });
});
