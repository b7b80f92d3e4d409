import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../app/app.ts';
import { serveMonitoring } from '../../app/monitoring-port.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { SettingsError } from '../../runtime/settings-error.ts';

describe('the port for metrics and health', () => {
  it('that is taken keeps a part from starting where it was named, and only costs the metrics where it is the usual one', async () => {
    const lines: string[] = [];
    const app = createApp(loadSettings({}), createLog('info', { write: (line) => void lines.push(line) }));
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const serve = (isDefault: boolean) => serveMonitoring(app, { port, isDefault }, 'CVM_WORKER_METRICS_PORT');
    await expect(serve(false)).rejects.toThrow(SettingsError);
    expect(await serve(true)).toBeUndefined();
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { level: 40, port, cure: 'name another port in CVM_WORKER_METRICS_PORT, or "off"' },
    ]);
    other.close();
    await app.lifecycle.close();
  });

  it('that is off opens none', async () => {
    const app = createApp(loadSettings({}), createLog('silent'));
    expect(await serveMonitoring(app, { port: 'off', isDefault: false }, 'CVM_WORKER_METRICS_PORT')).toBeUndefined();
    await app.lifecycle.close();
  });
});
