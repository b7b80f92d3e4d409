import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { App } from '../../app/app.ts';
import { createMonitoring } from '../../app/monitoring.ts';
import { asProcess, startBrokerProcesses, tokenAttemptShare } from '../../app/processes.ts';
import { defaultTokenAttemptLimits } from '../../queue/token-attempts.ts';
import { createLifecycle } from '../../runtime/lifecycle.ts';
import { createLog } from '../../runtime/log.ts';
import { createMetrics } from '../../telemetry/metrics.ts';

describe('one of several broker processes', () => {
  it('has its share of what is limited for all, so that more processes let no more of an attacker in', () => {
    const app = { settings: { maxConnections: 5000, maxConnectionsPerAddress: 1001 } } as App;
    const { maxConnections, maxConnectionsPerAddress } = asProcess(app, { number: 2, of: 4 }).settings;
    expect([maxConnections, maxConnectionsPerAddress]).toEqual([1250, 251]);
    expect(tokenAttemptShare({ number: 2, of: 4 }).perSecond).toBe(defaultTokenAttemptLimits.perSecond / 4);
  });
});

describe('the first of several processes', { timeout: 60_000 }, () => {
  let folder: string;
  let app: App;
  const said: string[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-processes-'));
    said.length = 0;
    const log = createLog('info', { write: (line) => void said.push(line) });
    const { metrics, metricsRegistry } = createMetrics();
    const monitoring = createMonitoring(metrics, metricsRegistry, log);
    app = { settings: { healthDir: folder }, log, lifecycle: createLifecycle(log), monitoring } as App;
  });
  afterEach(async () => {
    await app.lifecycle.close();
    rmSync(folder, { recursive: true, force: true });
  });
  /** Starts processes that listen, and note their ids. */
  async function startTwo() {
    const program = join(folder, 'broker.mjs');
    writeFileSync(
      program,
      `import { createServer } from 'node:net';
       import { writeFileSync } from 'node:fs';
       writeFileSync(${JSON.stringify(folder)} + '/' + process.argv[4][0] + '.pid', String(process.pid));
       createServer().listen(0, '127.0.0.1');
       process.on('message', (message) => message === 'cvm: close' && process.exit());`,
    );
    await startBrokerProcesses(app, { program, count: 2, times: { answerMs: 100, closeMs: 2000 } });
  }
  const pid = (number: number) => Number(readFileSync(join(folder, `${number}.pid`), 'utf8'));

  it('outlives one that is killed in the moment in which it is asked for its metrics, and starts it again', async () => {
    await startTwo();
    const killed = pid(2);
    process.kill(killed, 'SIGKILL');
    // without a pause, in which it would be told of the end
    while (/^State:\t[^Z]/m.test(readFileSync(`/proc/${killed}/status`, 'utf8')));
    await app.monitoring.text();
    await expect.poll(() => pid(2)).not.toBe(killed);
  });

  it('tries again to start one that the system could not start', async () => {
    await startTwo();
    const { execPath } = process;
    const killed = pid(2);
    try {
      process.execPath = join(folder, 'not-there');
      process.kill(killed, 'SIGKILL');
      await expect.poll(() => said.join('')).toContain('the system could not start it: ENOENT');
    } finally {
      process.execPath = execPath;
    }
    await expect.poll(() => pid(2)).not.toBe(killed);
  });
});
