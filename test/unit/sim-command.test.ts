import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simCommand } from '../../cli/sim.ts';
import { loadSettings } from '../../runtime/settings.ts';

describe('cvm sim', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-sim-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const run = (...argv: string[]) => {
    const settings = () => loadSettings({ CVM_DATA_DIR: folder });
    const context = { settings, operator: () => Promise.reject as never, write: () => {} };
    return simCommand(context).parseAsync(argv, { from: 'user' });
  };
  const file = (name: string, content: string) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };

  it.each(['A,token-a\nB,token-b\n', 'serial,token\nA,token-a\nB,\n', 'serial\nA\n'])(
    'refuses a file in which a row has no serial or no token, before any device connects: %j',
    async (content) => {
      const credentials = file('devices.csv', content);
      await expect(run('--ca', file('ca.pem', ''), '--credentials', credentials)).rejects.toThrow(
        /devices\.csv: every row needs a serial and a token.*"serial,token"/,
      );
    },
  );

  it('says how to get the CA file that is missing', async () => {
    await expect(run()).rejects.toThrow(/site-ca\.crt cannot be read \(ENOENT\): start the gateway once.*--ca/);
  });
});
