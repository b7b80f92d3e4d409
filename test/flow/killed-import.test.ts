import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectDynamoDb } from '../../aws/client.ts';
import { createAwsGate } from '../../aws/gate.ts';
import { hashToken } from '../../protocol/token.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { openDynamoTable } from '../../registry/dynamodb/table.ts';
import { answers, freePort, until } from '../support/network.ts';

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

describe('an import that is killed', () => {
  let folder: string;
  let env: NodeJS.ProcessEnv;
  let aws: ChildProcess;
  let url: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-killed-import-'));
    const [http, mqtt] = await Promise.all([freePort(), freePort()]);
    url = `http://127.0.0.1:${http}`;
    const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG)_/.test(name));
    env = {
      ...Object.fromEntries(inherited),
      CVM_DATA_DIR: folder,
      CVM_LISTEN: '127.0.0.1',
      CVM_AWS_LOCAL_HTTP_PORT: String(http),
      CVM_AWS_LOCAL_MQTT_PORT: String(mqtt),
    };
    aws = spawn(process.execPath, [cvm, 'aws-local'], { env, cwd: folder, stdio: 'ignore' });
    await until(() => answers(`${url}/_local/health`), 60_000, 'start of the stand-in');
    await run(process.execPath, [cvm, 'aws', 'setup'], { env, cwd: folder });
  });
  afterAll(async () => {
    if (aws?.kill('SIGKILL')) await once(aws, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });

  it('goes on when the same command is run again: no serial has two tokens, and every device has the one in the file', async () => {
    const file = join(folder, 'devices.csv');
    const serials = Array.from({ length: 300 }, (_, index) => `killed-${index}`);
    writeFileSync(file, `serial\n${serials.join('\n')}\n`);
    const tokens = () =>
      existsSync(`${file}.tokens.csv`) ? readFileSync(`${file}.tokens.csv`, 'utf8').trim().split('\n').slice(1) : [];
    const command = [cvm, 'devices', 'import', file, '--json'];
    for (const killedAt of [1, 40, 130, 220]) {
      const child = spawn(process.execPath, command, { env, cwd: folder, stdio: 'ignore' });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await expect.poll(() => tokens().length, { interval: 1 }).toBeGreaterThanOrEqual(killedAt);
      child.kill('SIGKILL');
      await ended;
    }
    const { stdout } = await run(process.execPath, command, { env, cwd: folder });
    expect(JSON.parse(stdout)).toMatchObject({ rows: 300, bad: 0 });
    const kept = new Map(tokens().map((line) => line.split(',') as [string, string]));
    expect([tokens().length, [...kept.keys()].sort()]).toEqual([300, [...serials].sort()]);
    const client = connectDynamoDb({
      region: 'us-east-1',
      endpoint: url,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    });
    const gate = createAwsGate({ table: 'cvm-devices', region: () => client.config.region() });
    const { registry } = createAssociationTable(openDynamoTable(client, 'cvm-devices', gate));
    for await (const { serial, tokenHash } of registry.list())
      expect(tokenHash).toBe(hashToken(kept.get(serial) ?? ''));
    client.destroy();
  });
});
