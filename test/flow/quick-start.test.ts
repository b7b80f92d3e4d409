import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lacks } from '../support/lacks.ts';

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** A port that was free just now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** The environment of a newcomer: nothing is configured but free ports, so that tests do not collide. */
async function freshEnvironment(dataDir: string) {
  const [mqtt, http, data] = await Promise.all([freePort(), freePort(), freePort()]);
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG)_/.test(name)),
  );
  return {
    ...inherited,
    CVM_DATA_DIR: dataDir,
    CVM_MQTT_PORT: String(mqtt),
    CVM_AWS_LOCAL_HTTP_PORT: String(http),
    CVM_AWS_LOCAL_MQTT_PORT: String(data),
    CVM_LISTEN: '127.0.0.1',
  };
}

describe.skipIf(lacks('redis-server'))('npm start', () => {
  let dataDir: string;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-start-'));
    env = await freshEnvironment(dataDir);
  });
  afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

  it('--once shows a device from enrolment to its first message in AWS IoT, and ends with status 0', async () => {
    const { stdout } = await run(process.execPath, [cvm, 'up', '--demo', '--once'], { env });
    for (const step of ['enrol', 'connect', 'ask', 'receive', 'publish']) expect(stdout).toContain(step);
    expect(stdout).toMatch(/applyState -1, certID [0-9a-f]{64}/);
  });

  it('keeps its data for a second start', async () => {
    const { stdout } = await run(process.execPath, [cvm, 'up', '--demo', '--once'], { env });
    expect(stdout).toContain('1 devices, 1 with a certificate');
  });

  it('stays up, serves a device enrolled from another terminal, and ends cleanly at SIGTERM', async () => {
    const gateway = spawn(process.execPath, [cvm, 'up', '--demo'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise<number | null>((resolve) => gateway.once('exit', resolve));
    let said = '';
    await new Promise<void>((resolve, reject) => {
      gateway.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes('stays up')) resolve();
      });
      gateway.once('exit', () => reject(new Error(`ended early:\n${said}`)));
    });
    expect(said).toContain('mosquitto_rr');
    const added = JSON.parse(
      (await run(process.execPath, [cvm, 'devices', 'add', 'from-elsewhere', '--json'], { env })).stdout,
    ) as unknown;
    expect(JSON.stringify(added)).toContain('from-elsewhere');
    const listed = await run(process.execPath, [cvm, 'devices', 'list', '--json'], { env });
    expect(listed.stdout).toContain('from-elsewhere');
    gateway.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  it('reports every problem of the configuration at once, with status 2', async () => {
    const wrong = { ...env, CVM_MQTT_PORT: 'many', CVM_REPLAY_WINDOW: 'soon', CVM_TPYO: '1' };
    const failed = await run(process.execPath, [cvm, 'up'], { env: wrong }).catch(
      (error: { code: number; stderr: string }) => error,
    );
    expect(failed).toMatchObject({ code: 2 });
    for (const name of ['CVM_MQTT_PORT', 'CVM_REPLAY_WINDOW', 'CVM_TPYO']) expect(failed.stderr).toContain(name);
  });

  it('prints the exact command and ends with status 2 where redis-server is missing and cannot be installed', async () => {
    const nowhere = { ...env, PATH: dataDir, CVM_DATA_DIR: join(dataDir, 'other') };
    const failed = await run(process.execPath, [cvm, 'up', '--demo', '--once'], { env: nowhere }).catch(
      (error: { code: number; stderr: string }) => error,
    );
    expect(failed).toMatchObject({ code: 2 });
    expect(failed.stderr).toContain('redis');
  });
});
