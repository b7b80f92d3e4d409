import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setUpAws } from '../../app/aws-setup.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { askOnce, connectDevice, type TestDevice } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { cvm, devicePortOf, enrolDevices, isolated, onStandIn, programRuns } from '../support/program.ts';

const run = promisify(execFile);

/** A gateway as an operator runs it: in a folder with its `.env`, of which a backup is made. */
describe.skipIf(lacks('redis-server'))('a gateway whose machine is lost', () => {
  let folder: string;
  let aws: AwsLocal;
  const runs = programRuns();
  const dataDir = () => join(folder, 'site', 'data');
  const site = () => join(folder, 'site');
  const { CVM_DATA_DIR: _ofEnvFile, ...base } = isolated('/nowhere');
  const env = () => ({
    ...base,
    HOME: folder,
    ...onStandIn(aws),
    CVM_HOSTNAMES: 'localhost',
    LOG_FORMAT: 'json',
  });

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-lost-'));
    mkdirSync(site());
    writeFileSync(join(folder, 'passphrase'), 'five words at random here\n');
    writeFileSync(join(site(), '.env'), `CVM_DATA_DIR=${dataDir()}\n`, { mode: 0o600 });
    const cloud = join(folder, 'cloud');
    aws = await startAwsLocal({ dataDir: cloud, httpPort: 0, mqttPort: 0, quotas: 'off', log: createLog('silent') });
    const access = {
      region: 'us-east-1',
      endpoint: aws.httpUrl,
      credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
    };
    await setUpAws({ ...loadSettings({ CVM_DATA_DIR: dataDir() }), aws: access });
  });
  afterEach(async () => {
    await runs.end();
    await aws?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** @returns the port for devices */
  const start = () => devicePortOf(runs.start(['up'], env(), { cwd: site() }));
  const command = (...argv: string[]) => run(process.execPath, [cvm, ...argv], { cwd: site(), env: env() });
  const withPassphrase = ['--passphrase-file', '../passphrase'];

  it('is the same one after a restore of its backup: devices with its CA, and with a pre-shared key, connect again', async () => {
    await start();
    const caPem = readFileSync(join(dataDir(), 'tls', 'site-ca.crt'), 'utf8');
    // the gateway is known to its table from the start on, and gets the keys of both
    const tokenOf = await enrolDevices(['by-ca', 'by-key'], env(), { cwd: site() });
    const apiToken = (await command('console', 'token', 'create', 'monitor')).stdout;
    await command('backup', '../site.cvm', ...withPassphrase);
    await runs.end();
    rmSync(site(), { recursive: true });
    mkdirSync(site());

    await command('restore', '../site.cvm', ...withPassphrase);
    expect(readFileSync(join(site(), '.env'), 'utf8')).toBe(`CVM_DATA_DIR=${dataDir()}\n`);
    expect(apiToken).toContain('cvm_');
    expect((await command('console', 'token', 'list')).stdout).toContain('monitor');
    const port = await start();
    expect(await askOnce({ port, caPem }, 'by-ca', { token: tokenOf('by-ca'), key: 'ec' })).toMatchObject({
      status: 'accepted',
    });
    // no CA, no name: the key authenticates both
    const byKey = {
      pskCallback: () => ({ psk: derivePsk('by-key', tokenOf('by-key')), identity: 'by-key' }),
      checkServerIdentity: () => undefined,
    };
    // its key comes to the broker by the roster, a moment after the start
    let made: TestDevice | undefined;
    const connects = async () => {
      made = await connectDevice({ port, caPem: '' }, byKey);
      return made.client.connected;
    };
    await expect.poll(connects).toBe(true);
    const device = made as unknown as TestDevice;
    await device.client.publishAsync(requestTopic('by-key'), '{"key":"ec"}', { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: 'by-key' });
    await device.client.endAsync(true);
  });

  it('is another one without a backup: it does not start where its table knows the lost one, and says what to do', async () => {
    await start();
    await runs.end();
    renameSync(dataDir(), join(folder, 'lost'));
    await expect(start()).rejects.toThrow(/restore it from its backup/);
  });

  it('is not restored with a wrong passphrase, nor over what is there; the exit status says so', async () => {
    await start();
    await command('backup', '../site.cvm', ...withPassphrase);
    await expect(command('restore', '../site.cvm', ...withPassphrase)).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/stop the gateway.*\n.*is not empty/),
    });
    writeFileSync(join(folder, 'passphrase'), 'other words at random here\n');
    await expect(command('restore', '../site.cvm', ...withPassphrase)).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not the passphrase of this backup'),
    });
    await expect(command('backup', '../other.cvm')).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--passphrase-file'),
    });
  });
});
