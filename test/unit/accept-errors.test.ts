import { mkdtempSync, rmSync } from 'node:fs';
import { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';
import { Observation } from '../../certify/observation.ts';
import { startRelay } from '../../certify/relay.ts';
import { createLog } from '../../runtime/log.ts';
import { startMonitoringServer } from '../../runtime/monitoring-server.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { startTestConsole } from '../support/console.ts';
import { lacks } from '../support/lacks.ts';
import { startTlsListener } from '../support/tls-listener.ts';

type Started = { close(): Promise<unknown> };

const tls = (dataDir: string) => loadTlsMaterial({ dataDir, hostnames: [], machineName: 'test' });

const starts: Readonly<Record<string, (dataDir: string) => Promise<Started>>> = {
  'for devices': () => startTlsListener({}),
  'of the stand-in': (dataDir) => startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0 }),
  'for monitoring': () =>
    startMonitoringServer({
      ...{ listen: '127.0.0.1', port: 0, token: undefined, metricsType: 'text/plain', health: () => [] },
      metrics: async () => '',
      log: createLog('silent'),
    }),
  async 'of the relay of a certification'(dataDir) {
    const one = await tls(dataDir);
    return startRelay({
      ...{ port: 0, listen: '127.0.0.1', gateway: { port: 1, ca: one.cert }, script: {} },
      device: { serial: 'SN-1', token: 'AAAAAAAAAAAAAAAAAAAAAAAAAAA' },
      certificates: { right: one, rsa: one, 'wrong-ca': one, expired: one, 'other-name': one },
      observation: new Observation(() => 0),
    });
  },
  ...(lacks('redis-server') ? {} : { 'of the console': () => startTestConsole() }),
};

describe('a connection that the system refuses, since memory is short, say, ends no process that has a port', () => {
  it.each(Object.entries(starts))('%s', async (_port, start) => {
    const listen = vi.spyOn(Server.prototype, 'listen');
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-accept-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    const started = await start(dataDir);
    onTestFinished(async () => void (await started.close()));
    // a helper of a test may have looked for a free port
    const servers = (listen.mock.contexts as Server[]).filter(({ listening }) => listening);
    listen.mockRestore();
    expect(servers.length).toBeGreaterThan(0);
    for (const server of servers)
      for (let times = 0; times < 2; times++)
        expect(() => server.emit('error', new Error('accept ENOMEM'))).not.toThrow();
  });
});
