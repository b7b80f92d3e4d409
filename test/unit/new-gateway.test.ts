import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { App } from '../../app/app.ts';
import { admitNewGateway } from '../../app/new-gateway.ts';
import { createLifecycle } from '../../runtime/lifecycle.ts';
import { createLog } from '../../runtime/log.ts';
import { isNewGateway, loadGateway } from '../../site-tls/gateway-key.ts';

it('goes on, and tries again, while its approval cannot be noted in its folder', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-new-gateway-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const said: string[] = [];
  const log = createLog('warn', { write: (line: string) => void said.push(line) });
  const lifecycle = createLifecycle(log);
  onTestFinished(() => lifecycle.close());
  const { id } = (await loadGateway(dataDir)).identity;
  const app = { settings: { dataDir, newSite: true }, log, lifecycle } as unknown as App;

  const note = join(dataDir, 'tls', 'gateway.unapproved');
  rmSync(note);
  // a folder cannot be removed as the file is, as little as the file of a disk that can only be read
  mkdirSync(note);
  const table = { gateways: async () => ({ approved: [id], waiting: [] }), sealedElsewhere: async () => 0 };
  await admitNewGateway(app, id, { ask: async () => table, onWait() {}, everyMs: 5 });
  await expect.poll(() => said.join('')).toContain('cannot be noted in the data folder');
  expect(isNewGateway(dataDir)).toBe(true);

  rmdirSync(note);
  await expect.poll(() => isNewGateway(dataDir)).toBe(false);
  expect(said.filter((line) => line.includes('cannot be noted'))).toHaveLength(1);
});
