import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { composeStack, eventually, findCompose, image } from './compose.ts';

const compose = findCompose();
const project = `cvmalias${process.pid}`;
const account = `${project}-account`;
const role = 'arn:aws:iam::000000000000:role/gateway';

/** An account whose hosts answer at the ports that AWS has: its credentials provider is asked at 443. */
const standIn = `import('/app/dist/aws-local/main.js').then(({startAwsLocal})=>startAwsLocal({dataDir:'/tmp/account',host:'0.0.0.0',httpPort:4566,mqttPort:443,endpointAddress:'account-aws',quotas:'off'}))`;

describe.skipIf(compose === undefined)('a compose stack that has a certificate in place of AWS keys', () => {
  const ca = mkdtempSync(join(tmpdir(), 'cvm-account-ca-'));
  const stackWith = (env: NodeJS.ProcessEnv = {}) =>
    composeStack(compose ?? [], {
      project,
      profile: 'aws',
      env: {
        CVM_MQTT_PORT: '28931',
        CVM_CONSOLE_PORT: '28449',
        AWS_REGION: 'us-east-1',
        AWS_ENDPOINT_URL_IOT: 'http://account-aws:4566',
        AWS_ENDPOINT_URL_DYNAMODB: 'http://account-aws:4566',
        CVM_CA_FOLDER: ca,
        NODE_EXTRA_CA_CERTS: '/ca/account.pem',
        ...env,
      },
    });
  const stack = stackWith({ CVM_ROLE_ALIAS: 'cvm-gateway' });
  /** What an administrator types. */
  const setUp = (of: typeof stack, ...more: string[]) => {
    const keys = ['-e', 'AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE', '-e', 'AWS_SECRET_ACCESS_KEY=s'];
    return of.call('run', '--rm', '-T', '--no-deps', ...keys, 'worker', 'aws', 'setup', '--gateway', ...more);
  };
  const inWorker = (script: string) => stack.call('exec', '-T', 'worker', 'sh', '-c', script);
  const identity = async () => JSON.parse(await inWorker('cat /aws-gateway/gateway.json')) as { certificateId: string };

  beforeAll(async () => {
    await stack.call('up', '-d', 'redis');
    const network = ['--network', `${project}_default`, '--network-alias', 'account-aws'];
    await stack.docker('run', '-d', '--name', account, ...network, '--entrypoint', 'node', image, '-e', standIn);
    const root = await eventually('the account', () =>
      stack.docker('exec', account, 'cat', '/tmp/account/root-ca.pem'),
    );
    writeFileSync(join(ca, 'account.pem'), root);
    chmodSync(ca, 0o755);
  });
  afterAll(async () => {
    await stack.docker('rm', '-f', '-v', account).catch(() => {});
    await stack.down();
    rmSync(ca, { recursive: true, force: true });
  });

  it('has to be told as which thing AWS is to know it, since a container has no name of its own', async () => {
    const failed = await setUp(stackWith(), '--role', role).catch((error: { code: number; stderr: string }) => error);
    expect(failed).toMatchObject({ code: 2, stderr: expect.stringContaining('--gateway cvm-gateway-plant-7') });
  });

  it('makes its certificate in a volume of its own, and vends with it and without any key', async () => {
    await setUp(stackWith(), 'cvm-gateway-plant-7', '--role', role);
    await stack.call('up', '-d');
    const environment = await inWorker('env');
    expect(environment).not.toMatch(/^AWS_ACCESS_KEY_ID=./m);
    const caPem = await eventually('the site CA', () => stack.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca'));
    const [line = ''] = (await stack.cvm('devices', 'add', 'by-alias', '--json')).trim().split('\n');
    const { token } = JSON.parse(line) as { token: string };
    const reply = await eventually('a certificate', () =>
      askOnce({ port: 28931, caPem }, 'by-alias', { token, key: 'ec' }),
    );
    expect(reply).toMatchObject({ status: 'accepted', thingName: 'by-alias' });
  });

  it('gets another certificate by an administrator while it runs, as the thing that it is', async () => {
    const before = await identity();
    await setUp(stack, '--rotate');
    expect(await identity()).toMatchObject({ thingName: 'cvm-gateway-plant-7' });
    expect((await identity()).certificateId).not.toBe(before.certificateId);
    await stack.call('restart', 'worker', 'console');
    await eventually('AWS by the new one', () => stack.cvm('devices', 'list'));
  });

  it('replaces a certificate that ends soon by itself', async () => {
    const before = await identity();
    const folder = mkdtempSync(join(tmpdir(), 'cvm-ends-'));
    const argv = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gateway -days 10'.split(' ');
    const pem = execFileSync('openssl', ['req', ...argv, '-keyout', join(folder, 'key')], { encoding: 'utf8' });
    rmSync(folder, { recursive: true });
    // credentials that the worker has got since its start are good for an hour
    await stack.cvm('devices', 'list');
    await inWorker(`cat > /aws-gateway/gateway.crt <<'END'\n${pem}END`);
    await eventually('another certificate', async () =>
      expect((await identity()).certificateId).not.toBe(before.certificateId),
    );
    await stack.call('restart', 'worker');
    await eventually('AWS by the new one', () => stack.cvm('devices', 'list'));
  });
});
