import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { auditCommand } from '../../cli/audit.ts';
import { restoreCommand } from '../../cli/restore.ts';
import { loadSettings } from '../../runtime/settings.ts';

describe('in a wrong folder', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-wrong-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const context = () => ({
    settings: async () => loadSettings({ CVM_DATA_DIR: join(folder, 'data') }),
    environment: {},
    write: vi.fn(),
  });

  it('audit show says that there is no trail, and where to name it: an empty answer looks like a device that did nothing', async () => {
    const shown = auditCommand(context()).parseAsync(['show', '--serial', 'SN-1'], { from: 'user' });
    await expect(shown).rejects.toMatchObject({
      message: expect.stringMatching(/^there is no folder .*data\/audit$/),
      cure: expect.stringContaining('--dir or CVM_AUDIT_DIR'),
    });
  });

  it('restore says that there is no such file before anybody types a passphrase', async () => {
    const restored = restoreCommand(context()).parseAsync([join(folder, 'site.cvm')], { from: 'user' });
    await expect(restored).rejects.toThrow(/there is no file .*site\.cvm/);
  });
});
