import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lacks } from '../support/lacks.ts';

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
/** what `npm start` gives to cvm */
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: { start: string } };
const [, , ...start] = scripts.start.split(' ');

/** The environment of a newcomer: nothing is configured but free ports, so that tests do not collide. */
function freshEnvironment(dataDir: string) {
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG)_/.test(name)),
  );
  return {
    ...inherited,
    CVM_DATA_DIR: dataDir,
    CVM_MQTT_PORT: '0',
    CVM_CONSOLE_PORT: '0',
    CVM_AWS_LOCAL_HTTP_PORT: '0',
    CVM_AWS_LOCAL_MQTT_PORT: '0',
    CVM_LISTEN: '127.0.0.1',
  };
}

describe.skipIf(lacks('redis-server'))('npm start', () => {
  let dataDir: string;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    // as for a new user, the folder is not there yet
    dataDir = join(mkdtempSync(join(tmpdir(), 'cvm-start-')), 'data');
    env = freshEnvironment(dataDir);
  });
  afterAll(() => rmSync(dirname(dataDir), { recursive: true, force: true }));

  it('--once shows a device from enrolment to its first message in AWS IoT, and ends with status 0', async () => {
    const { stdout } = await run(process.execPath, [cvm, ...start, '--once'], { env });
    for (const step of ['enrol', 'connect', 'ask', 'receive', 'publish']) expect(stdout).toContain(step);
    expect(stdout).toMatch(/applyState -1, certID [0-9a-f]{64}/);
  });

  it('keeps keys, tokens and requests from other users of the machine, whatever the umask is', () => {
    const open = readdirSync(dataDir, { recursive: true, withFileTypes: true })
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => (statSync(path).mode & 0o077) !== 0)
      .map((path) => relative(dataDir, path))
      // certificates, and the stand-in's table, whose folder is closed
      .filter((path) => !/\.crt$|^aws-local\/root-ca\.pem$|^aws-local\/dynamodb/.test(path));
    expect(open).toEqual([]);
    expect(statSync(join(dataDir, 'aws-local')).mode & 0o077).toBe(0);
  });

  it('keeps its data for a second start', async () => {
    const { stdout } = await run(process.execPath, [cvm, ...start, '--once'], { env });
    expect(stdout).toContain('1 device, 1 with a certificate');
  });

  it('stays up, serves a device enrolled from another terminal, and ends cleanly at SIGTERM', async () => {
    const gateway = spawn(process.execPath, [cvm, ...start], { env, stdio: ['ignore', 'pipe', 'inherit'] });
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
    expect(listed.stderr).toMatch(
      /^cvm: this command calls the AWS stand-in at http:\S+, which runs on this data folder/,
    );
    const account = { ...env, AWS_REGION: 'eu-west-1', AWS_EC2_METADATA_DISABLED: 'true' };
    expect((await failureOf(['devices', 'list'], account)).stderr).toContain('calls AWS, since AWS_REGION is set');
    gateway.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  it('reports every problem of the configuration at once, with status 2', async () => {
    const wrong = { ...env, CVM_MQTT_PORT: 'many', CVM_REPLAY_WINDOW: 'soon', CVM_TPYO: '1' };
    const failed = await failureOf(['up'], wrong);
    expect(failed).toMatchObject({ code: 2 });
    for (const name of ['CVM_MQTT_PORT', 'CVM_REPLAY_WINDOW', 'CVM_TPYO']) expect(failed.stderr).toContain(name);
  });

  it('does not install redis-server where it is missing: it prints the exact command, with status 2', async () => {
    const bin = join(dataDir, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'apt-get'), '#!/bin/sh\n: > "$(dirname "$0")/ran"\n', { mode: 0o755 });
    const failed = await failureOf(start, { ...env, PATH: bin, CVM_DATA_DIR: join(dataDir, 'other') });
    expect(failed).toMatchObject({ code: 2 });
    expect(failed.stderr).toContain(
      'sudo apt-get update && sudo apt-get install -y --no-install-recommends redis-server',
    );
    expect(readdirSync(bin)).toEqual(['apt-get']);
  });
});

describe('a service that waits for Redis in its start', () => {
  it.each(['broker', 'worker'])('ends at the first SIGTERM: cvm %s', async (part) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-waits-'));
    const env = {
      ...freshEnvironment(dataDir),
      REDIS_URL: 'redis://127.0.0.1:1/0',
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_ENDPOINT_URL_IOT: 'http://127.0.0.1:9',
      AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:9',
      LOG_LEVEL: 'info',
    };
    const service = spawn(process.execPath, [cvm, part], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise((resolve) => service.once('exit', resolve));
    // it has begun: it reports that Redis is away
    let said = '';
    await new Promise<void>((resolve) => {
      service.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes('Redis is away')) resolve();
      });
    });
    service.kill('SIGTERM');
    const killed = setTimeout(() => service.kill('SIGKILL'), 45_000);
    expect(await ended).toBe(0);
    clearTimeout(killed);
    rmSync(dataDir, { recursive: true, force: true });
  });
});

describe.skipIf(lacks('redis-server'))('cvm up without --local-aws', () => {
  let dataDir: string;
  let env: NodeJS.ProcessEnv;
  /** takes connections, and never answers: as a network that drops what is sent to the instance metadata service */
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-account-'));
    const none = join(dataDir, 'none');
    env = { ...freshEnvironment(dataDir), AWS_CONFIG_FILE: none, AWS_SHARED_CREDENTIALS_FILE: none };
  });
  afterAll(() => {
    silent.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it.each([
    ['where there is no instance metadata', 'http://127.0.0.1:1'],
    ['where the instance metadata service is silent', undefined],
  ])('ends with status 2, and names both ways %s', async (_title, endpoint) => {
    const { port } = silent.address() as AddressInfo;
    const AWS_EC2_METADATA_SERVICE_ENDPOINT = endpoint ?? `http://127.0.0.1:${port}`;
    const failed = await failureOf(['up'], { ...env, AWS_EC2_METADATA_SERVICE_ENDPOINT });
    expect(failed).toMatchObject({ code: 2 });
    for (const way of ['--local-aws', 'AWS_PROFILE', 'AWS_ACCESS_KEY_ID', 'AWS_REGION'])
      expect(failed.stderr).toContain(way);
    expect(readdirSync(dataDir)).toEqual([]);
  });
});

async function failureOf(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<{ code: number; stderr: string }> {
  return run(process.execPath, [cvm, ...argv], { env }).then(
    ({ stderr }) => ({ code: 0, stderr }),
    (error: { code: number; stderr: string }) => error,
  );
}
