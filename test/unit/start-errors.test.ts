import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type App, createApp, keepAudit } from '../../app/app.ts';
import { loadTls, serveDevices } from '../../app/broker.ts';
import { loadTemplates } from '../../app/worker.ts';
import { redisCure } from '../../queue/redis-cure.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { noLine } from '../support/no-line.ts';
import { unguarded } from '../support/unguarded.ts';

describe('a part that cannot start names the setting to change', () => {
  let folder: string;
  let app: App;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-start-'));
  });
  afterEach(async () => {
    await app?.lifecycle.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const open = (env: Record<string, string>) => {
    app = createApp(loadSettings({ CVM_DATA_DIR: folder, ...env }), createLog('silent'));
    return app;
  };

  it('an audit trail that cannot be written', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(() => keepAudit(open({ CVM_AUDIT_DIR: file }), 'worker')).toThrow(/CVM_AUDIT_DIR: .*(EEXIST|ENOTDIR)/);
    expect(() => keepAudit(open({ CVM_AUDIT_DIR: join(file, 'below') }), 'worker')).toThrow(/CVM_AUDIT_DIR: .*ENOTDIR/);
  });

  it('a port that is taken, and an address that this machine does not have', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const start = async (env: Record<string, string>) => {
      const part = open(env);
      const feed = { listen: async () => {}, fetch: async () => [], close: async () => {} };
      const requests = { add: async () => undefined, acknowledge: async () => {}, close: async () => {} };
      return serveDevices(part, { requests, replies: feed, ...noLine, ...unguarded }, await loadTls(part));
    };
    const here = { CVM_LISTEN: '127.0.0.1', CVM_MQTT_PORT: String(port) };
    await expect(start(here)).rejects.toThrow(new RegExp(`CVM_MQTT_PORT: .*127.0.0.1, port ${port} .EADDRINUSE`));
    await expect(start({ ...here, CVM_LISTEN: '192.0.2.1' })).rejects.toThrow(/CVM_LISTEN.*192.0.2.1.*EADDRNOTAVAIL/);
    taken.close();
  });

  it('provisioning templates, all faults of all of them at once', () => {
    const templates = join(folder, 'templates');
    mkdirSync(templates);
    writeFileSync(join(templates, 'a.json'), '{');
    writeFileSync(join(templates, 'b.json'), '{"Resources":{}}');
    expect(() => loadTemplates(open({}))).toThrow(
      /a\.json: it is not JSON[\s\S]*b\.json: Resources: there is no resource of the type AWS::IoT::Thing/,
    );
    const file = join(templates, 'a.json');
    expect(() => loadTemplates(open({ CVM_TEMPLATES_DIR: file }))).toThrow(
      /CVM_TEMPLATES_DIR: .* cannot be read: ENOTDIR/,
    );
  });

  it('a Sentinel that is taken for a Redis, and a Redis that is taken for a Sentinel', () => {
    for (const command of ['set', 'del', 'evalsha'])
      expect(redisCure(new Error(`ERR unknown command '${command}', with args beginning with: …`))).toContain(
        'redis+sentinel://',
      );
    const noauth = 'no Sentinel names a master "mymaster" (127.0.0.1:6379: NOAUTH HELLO must be called with …)';
    expect(redisCure(new Error(noauth))).toContain('has their ports');
  });

  it('a Redis that refuses the password', () => {
    for (const message of ['WRONGPASS invalid username-password pair', 'NOAUTH Authentication required.'])
      expect(redisCure(new Error(message))).toContain('REDIS_URL');
    expect(redisCure(new Error('connect ECONNREFUSED 127.0.0.1:6379'))).toBeUndefined();
  });
});
