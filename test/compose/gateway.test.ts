import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce, type Reply } from '../support/device.ts';
import { composeStack, eventually, findCompose, type Stack } from './compose.ts';

const compose = findCompose();
if (compose === undefined) console.warn('SKIPPED: the compose stack; no container engine answers here');

const ports = { CVM_MQTT_PORT: '28883', CVM_AWS_LOCAL_HTTP_PORT: '24566', CVM_AWS_LOCAL_MQTT_PORT: '28884' };

describe.skipIf(compose === undefined)('the compose stack', () => {
  let stack: Stack;
  let broker: { port: number; caPem: string };

  beforeAll(async () => {
    stack = composeStack(compose ?? [], `cvmtest${process.pid}`, {
      ...ports,
      CVM_HOSTNAMES: 'localhost',
      CVM_IMAGE: 'cvm-gateway-test',
    });
    await stack.call('build');
    await stack.call('up', '-d');
    const caPem = await eventually('site CA', () => stack.call('exec', '-T', 'broker', 'cat', '/data/tls/site-ca.crt'));
    broker = { port: Number(ports.CVM_MQTT_PORT), caPem };
    await eventually('the table', () => stack.cvm('devices', 'list'));
  });
  afterAll(async () => {
    await stack?.call('down', '-v', '--remove-orphans', '-t', '5');
  });

  async function enrol(...serials: string[]): Promise<{ serial: string; token: string }[]> {
    const lines = (await stack.cvm('devices', 'add', ...serials, '--json')).trim().split('\n');
    return lines.map((line) => JSON.parse(line) as { serial: string; token: string });
  }

  /** As firmware: asks again when the connection breaks. */
  const provision = ({ serial, token }: { serial: string; token: string }): Promise<Reply> =>
    eventually(`provisioning ${serial}`, () => askOnce(broker, serial, { token, key: 'ec' }));

  async function provisionFresh(serial: string): Promise<void> {
    const [device] = await enrol(serial);
    expect(await provision(device ?? { serial, token: '' })).toMatchObject({ status: 'accepted', thingName: serial });
  }

  it('provisions a device through the published port', () => provisionFresh('compose-1'));

  it('goes on after the worker was killed', async () => {
    await stack.kill('worker');
    await stack.call('up', '-d');
    await eventually('the worker', () => stack.cvm('devices', 'list'));
    await provisionFresh('compose-2');
  });

  it('goes on after the broker was killed, with the same certificate of its own', async () => {
    await stack.kill('broker');
    await stack.call('up', '-d');
    await provisionFresh('compose-3');
  });

  it('keeps what it promised when Redis is killed', async () => {
    const [device = { serial: '', token: '' }] = await enrol('compose-4');
    const first = await provision(device);
    await stack.kill('redis');
    await stack.call('up', '-d');
    expect(await provision(device)).toMatchObject({ certificateId: first.certificateId, privateKey: first.privateKey });
  });

  it('scales to three workers that serve twenty devices at once', async () => {
    await stack.call('up', '-d', '--scale', 'worker=3');
    expect(await stack.containers('worker')).toHaveLength(3);
    const devices = await enrol(...Array.from({ length: 20 }, (_, index) => `compose-many-${index}`));
    const replies = await Promise.all(devices.map(provision));
    expect(replies.filter((reply) => reply.status === 'accepted')).toHaveLength(20);
  });

  it.each([
    ['broker', 'node'],
    ['worker', 'node'],
    ['aws-local', 'node'],
    ['redis', 'redis'],
  ])('runs %s as the ordinary user %s on a read-only root', async (service, user) => {
    const [id = ''] = await stack.containers(service);
    const [about] = JSON.parse(await stack.docker('inspect', id)) as {
      Config: { User: string };
      HostConfig: { ReadonlyRootfs: boolean; CapDrop: string[] };
    }[];
    expect(about?.Config.User).toBe(user);
    expect(about?.HostConfig).toMatchObject({ ReadonlyRootfs: true, CapDrop: ['ALL'] });
  });

  it.each(['broker', 'worker', 'aws-local', 'redis'])('says that %s is healthy', async (service) => {
    const [id = ''] = await stack.containers(service);
    await eventually('health', async () =>
      expect((await stack.docker('inspect', '-f', '{{.State.Health.Status}}', id)).trim()).toBe('healthy'),
    );
  });

  it('stops gracefully: broker and worker end with status 0', async () => {
    const ids = [...(await stack.containers('broker')), ...(await stack.containers('worker'))];
    await stack.call('stop', 'broker', 'worker');
    for (const id of ids) expect((await stack.docker('inspect', '-f', '{{.State.ExitCode}}', id)).trim()).toBe('0');
  });
});
