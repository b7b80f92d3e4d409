import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { composeStack, eventually, findCompose, type Stack } from './compose.ts';

const compose = findCompose();
const project = `cvmwhich${process.pid}`;
const ports = {
  CVM_MQTT_PORT: '28893',
  CVM_CONSOLE_PORT: '28446',
  CVM_AWS_LOCAL_HTTP_PORT: '24576',
  CVM_AWS_LOCAL_MQTT_PORT: '28894',
};

type Inspected = { Config: { Env: string[] }; Mounts: { Destination: string }[] };

describe.skipIf(compose === undefined)('the profile of the compose stack', () => {
  const stackWith = (profile: 'aws' | 'local-aws', env: NodeJS.ProcessEnv = {}): Stack =>
    composeStack(compose ?? [], { project, profile, env: { ...ports, ...env } });
  const home = mkdtempSync(join(tmpdir(), 'cvm-home-'));

  beforeAll(() => {
    // a profile of the AWS CLI whose account is the stand-in: these tests call nothing outside of this machine
    const profile = 'region = us-east-1\nendpoint_url = http://aws-local:4566\n';
    writeFileSync(join(home, 'config'), `[profile site]\n${profile}`);
    writeFileSync(
      join(home, 'credentials'),
      '[site]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = s\n',
    );
    for (const path of ['', 'config', 'credentials']) chmodSync(join(home, path), path === '' ? 0o755 : 0o644);
  });
  afterEach(async () => {
    for (const profile of ['aws', 'local-aws'] as const) await stackWith(profile).down();
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  /** The parts that run with a profile, and what each is given. */
  async function made(stack: Stack) {
    await stack.call('up', '-d');
    const names = (await stack.docker('ps', '-a', '--filter', `label=com.docker.compose.project=${project}`, '-q'))
      .trim()
      .split('\n');
    const found = JSON.parse(await stack.docker('inspect', ...names)) as (Inspected & {
      Config: { Labels: Record<string, string> };
    })[];
    return new Map(found.map((each) => [each.Config.Labels['com.docker.compose.service'], each]));
  }

  it('aws runs a worker that has nothing of the stand-in, and every source of credentials', async () => {
    const env = { AWS_PROFILE: 'site', CVM_AWS_FOLDER: home };
    const parts = await made(stackWith('aws', env));
    expect([...parts.keys()].sort()).toEqual(['broker', 'console', 'redis', 'secrets', 'worker']);
    const all = JSON.stringify([...parts.values()].map(({ Config, Mounts }) => [Config.Env, Mounts]));
    expect(all).not.toMatch(/aws-local|4566|=local"/);
    const { Config, Mounts } = parts.get('worker') as Inspected;
    expect(Config.Env).toEqual(expect.arrayContaining(['AWS_PROFILE=site', 'AWS_ACCESS_KEY_ID=', 'CVM_ROOT_CA=']));
    expect(Mounts.map(({ Destination }) => Destination)).toContain('/home/node/.aws');
  });

  it('local-aws runs the stand-in and a worker that takes all of it, whatever .env says of an account', async () => {
    const account = {
      AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE',
      AWS_SECRET_ACCESS_KEY: 's',
      AWS_REGION: 'eu-west-1',
      AWS_PROFILE: 'site',
    };
    const parts = await made(stackWith('local-aws', account));
    expect([...parts.keys()].sort()).toEqual([
      'aws-local',
      'aws-setup',
      'broker',
      'console-local',
      'redis',
      'secrets',
      'worker-local',
    ]);
    const { Config } = parts.get('worker-local') as Inspected;
    const named = Config.Env.filter((line) => line.startsWith('AWS_') || line.startsWith('CVM_ROOT_CA'));
    expect(named.sort()).toEqual([
      'AWS_ACCESS_KEY_ID=local',
      'AWS_ENDPOINT_URL_DYNAMODB=http://aws-local:4566',
      'AWS_ENDPOINT_URL_IOT=http://aws-local:4566',
      'AWS_REGION=us-east-1',
      'AWS_SECRET_ACCESS_KEY=local',
      'CVM_ROOT_CA=/aws-local/aws-local/root-ca.pem',
    ]);
  });

  it('aws refuses settings of the stand-in, all at once, with status 2', async () => {
    const left = {
      AWS_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
      AWS_ENDPOINT_URL_IOT: 'http://aws-local:4566',
    };
    const failed = await stackWith('aws', left)
      .call('run', '--rm', '-T', '--no-deps', 'worker', 'devices', 'list')
      .catch((error: Error & { code: number; stderr: string }) => error);
    expect(failed).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/AWS_ENDPOINT_URL_IOT.*\n.*AWS_ACCESS_KEY_ID: "local"/),
    });
  });

  it('aws takes a profile of the AWS CLI from the folder that is mounted, and says which AWS it is before it takes a request', async () => {
    const stack = stackWith('aws', { AWS_PROFILE: 'site', CVM_AWS_FOLDER: home });
    await stackWith('local-aws').call('up', '-d', 'aws-local');
    await eventually('the stand-in', async () =>
      expect(await stack.healthOf((await stackWith('local-aws').containers('aws-local'))[0] ?? '')).toBe('healthy'),
    );
    expect(await stack.call('run', '--rm', '-T', '--no-deps', 'worker', 'aws', 'setup')).toContain(
      'table cvm-devices: created',
    );
    await stack.call('up', '-d', 'worker');
    const said = await eventually('a worker that waits for requests', async () => {
      const lines = (await stack.call('logs', '--no-color', 'worker')).match(/\{.*\}/g) ?? [];
      const read = lines.map((line) => JSON.parse(line) as { msg: string });
      const at = read.findIndex(({ msg }) => msg === 'worker is waiting for requests');
      if (at < 0) throw new Error(lines.join('\n'));
      return read.slice(0, at).find(({ msg }) => msg === 'using AWS');
    });
    expect(said).toMatchObject({
      region: 'us-east-1',
      iot: 'http://aws-local:4566',
      account: 'none, a stand-in',
      msg: 'using AWS',
    });
  });
});
