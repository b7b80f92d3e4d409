import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce, type Reply } from '../support/device.ts';
import { composeStack, eventually, findCompose, image, type Stack } from './compose.ts';

const compose = findCompose();
if (compose === undefined) console.warn('SKIPPED: the compose stack; no container engine answers here');

const ports = {
  CVM_MQTT_PORT: '29883',
  CVM_CONSOLE_PORT: '29443',
  CVM_AWS_LOCAL_HTTP_PORT: '25566',
  CVM_AWS_LOCAL_MQTT_PORT: '29884',
};

const project = `cvmtest${process.pid}`;

describe.skipIf(compose === undefined)('the compose stack', () => {
  let stack: Stack;
  let broker: { port: number; caPem: string };

  beforeAll(async () => {
    stack = composeStack(compose ?? [], { project, profile: 'local-aws', env: ports });
    await stack.call('up', '-d');
    const caPem = await eventually('site CA', () => stack.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca'));
    broker = { port: Number(ports.CVM_MQTT_PORT), caPem };
    await eventually('the table', () => stack.cvm('devices', 'list'));
  });
  afterAll(async () => {
    await stack?.down();
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

  const inspect = async (service: string) => {
    const [id = ''] = await stack.containers(service);
    const [about] = JSON.parse(await stack.docker('inspect', id)) as {
      NetworkSettings: { Networks: Record<string, { IPAddress: string }>; Ports: Record<string, unknown> };
    }[];
    return about?.NetworkSettings ?? { Networks: {}, Ports: {} };
  };

  it('provisions a device through the published port', () => provisionFresh('compose-1'));

  it('goes on after the worker was killed', async () => {
    await stack.kill(stack.worker);
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
    await stack.call('up', '-d', '--scale', `${stack.worker}=3`);
    expect(await stack.containers(stack.worker)).toHaveLength(3);
    const devices = await enrol(...Array.from({ length: 20 }, (_, index) => `compose-many-${index}`));
    const replies = await Promise.all(devices.map(provision));
    expect(replies.filter((reply) => reply.status === 'accepted')).toHaveLength(20);
  });

  describe('its Redis', () => {
    /** What Redis answers to a PING that is sent from a container on these networks, to a name or an address. */
    const pingFrom = (network: string, host: string) => {
      const ask = `const s=require('net').connect(6379,'${host}',()=>s.write('PING\\r\\n'));s.on('data',(d)=>{console.log(String(d).trim());s.destroy()});s.on('error',(e)=>console.log(e.code));s.setTimeout(3000,()=>{console.log('silence');s.destroy()})`;
      const argv = ['run', '--rm', '--network', network, '--entrypoint', 'node', image, '-e', ask];
      return stack.docker(...argv).then((answer) => answer.trim());
    };
    it('answers nothing without the password, also to a container of its own network', async () => {
      expect(await pingFrom(`${project}_redis`, 'redis')).toMatch(/^-NOAUTH/);
    });

    it('cannot be reached from another network, by its name or by its address', async () => {
      const { Networks } = await inspect('redis');
      const [address = ''] = Object.values(Networks).map(({ IPAddress }) => IPAddress);
      expect(Object.keys(Networks)).toEqual([`${project}_redis`]);
      for (const host of ['redis', address])
        expect(await pingFrom(`${project}_default`, host)).toMatch(
          /^(?:ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|silence)$/,
        );
    });

    it('is published on no port of the host', async () => {
      const { Ports } = await inspect('redis');
      expect(Object.values(Ports).filter((published) => published !== null)).toEqual([]);
    });

    it('has a password that is in no list of processes, environment or log, and that stays when the stack is started again', async () => {
      const read = () => stack.call('exec', '-T', 'broker', 'cat', '/redis-password/password');
      const password = await read();
      expect(password).toMatch(/^[0-9a-f]{64}$/);
      const [id = ''] = await stack.containers('redis');
      expect(await stack.docker('top', id)).not.toContain(password);
      for (const service of ['redis', 'broker', stack.worker, 'console-local'])
        for (const each of await stack.containers(service))
          expect(await stack.docker('inspect', each)).not.toContain(password);
      expect(await stack.call('logs', '--no-color')).not.toContain(password);
      await stack.call('up', '-d');
      expect(await read()).toBe(password);
      await expect(
        stack.call('exec', '-T', 'broker', 'sh', '-c', 'echo x > /redis-password/password'),
      ).rejects.toThrow();
    });
  });

  it('shows the console through its port to those who have its password, which is in no log', async () => {
    const argv = ['console', 'password', '--reset'];
    const said = await stack.call('exec', '-T', 'console-local', 'cvm', ...argv);
    const password = said.trim().split(/\s+/).at(-1) ?? '';
    const origin = `https://localhost:${ports.CVM_CONSOLE_PORT}`;
    const ask = (path: string, options: { method?: string; body?: string } = {}) =>
      new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
        const headers = { 'content-type': 'application/json', origin };
        const sent = request(`${origin}${path}`, { ca: broker.caPem, headers, method: options.method ?? 'GET' });
        sent.on('error', reject).on('response', (response) => {
          let text = '';
          response.on('data', (chunk) => {
            text += chunk;
          });
          response.on('end', () => resolve({ status: response.statusCode, text }));
        });
        sent.end(options.body);
      });
    expect((await ask('/')).text).toMatch(/^<!doctype html>/i);
    const signIn = (word: string) =>
      ask('/api/v1/session', { method: 'POST', body: JSON.stringify({ password: word }) });
    expect((await signIn('not-the-pass-word')).status).toBe(401);
    expect((await signIn(password)).status).toBe(200);
    const logged = await stack.call('logs', '--no-color', 'console-local');
    expect(logged).toContain('cvm console password --reset makes one');
    expect(logged).not.toContain(password);
  });

  it('serves metrics inside the stack to those who have the token, and at no port of the host', async () => {
    const read = (service: string, url: string, file: string) => {
      const token = file === '' ? '' : `require('fs').readFileSync('${file}','utf8')`;
      const script = `fetch('${url}',{headers:{authorization:'Bearer '+${token || "''"}}}).then(async(r)=>console.log(r.status,await r.text()))`;
      return stack.call('exec', '-T', service, 'node', '-e', script);
    };
    const token = '/metrics-token/cvm-metrics-token';
    expect(await read(stack.worker, 'http://broker:9464/metrics', token)).toContain('cvm_broker_connections_total');
    expect(await read('broker', 'http://worker:9465/metrics', token)).toContain('cvm_worker_requests_total');
    expect(await read(stack.worker, 'http://broker:9464/metrics', '')).toMatch(/^401/);
    for (const service of ['broker', stack.worker]) {
      const { Ports } = await inspect(service);
      for (const port of ['9464/tcp', '9465/tcp']) expect(Ports[port] ?? null).toBeNull();
    }
  });

  it('takes over the data of a stack whose Redis had no password', async () => {
    const [device = { serial: '', token: '' }] = await enrol('compose-upgrade');
    const first = await provision(device);
    const parts = ['redis', 'broker', stack.worker, 'console-local'];
    await stack.call('stop', ...parts);
    await stack.call('rm', '-f', '-v', ...parts, 'secrets');
    // as it ran before there was a password
    const command = ['redis-server', '--protected-mode', 'no', '--appendonly', 'yes', '--dir', '/data'];
    const old = `${project}-old-redis`;
    const volume = `${project}_redis:/data`;
    await stack.docker('run', '-d', '--name', old, '--user', '999:999', '-v', volume, 'redis:7-bookworm', ...command);
    await eventually('the old Redis', async () =>
      expect(await stack.docker('exec', old, 'redis-cli', 'dbsize')).not.toMatch(/^0/),
    );
    await stack.docker('rm', '-f', old);
    await stack.docker('volume', 'rm', `${project}_redis-password`);
    await stack.call('up', '-d');
    expect(await provision(device)).toMatchObject({ certificateId: first.certificateId, privateKey: first.privateKey });
  });

  it.each([
    ['broker', 'node'],
    ['worker-local', 'node'],
    ['console-local', 'node'],
    ['aws-local', 'node'],
    ['redis', '999:999'],
  ])('runs %s as the ordinary user %s on a read-only root', async (service, user) => {
    const [id = ''] = await stack.containers(service);
    const [about] = JSON.parse(await stack.docker('inspect', id)) as {
      Config: { User: string };
      HostConfig: { ReadonlyRootfs: boolean; CapDrop: string[]; SecurityOpt: string[]; LogConfig: { Config: object } };
    }[];
    expect(about?.Config.User).toBe(user);
    expect(about?.HostConfig).toMatchObject({
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      // a log that grows without end fills the disk of the site
      LogConfig: { Config: { 'max-size': '10m', 'max-file': '3' } },
    });
  });

  it.each(['broker', 'worker-local', 'console-local', 'aws-local', 'redis'])(
    'says that %s is healthy',
    async (service) => {
      const [id = ''] = await stack.containers(service);
      await eventually('health', async () => expect(await stack.healthOf(id)).toBe('healthy'));
    },
  );

  it('stops gracefully: broker and worker end with status 0', async () => {
    const ids = [...(await stack.containers('broker')), ...(await stack.containers(stack.worker))];
    await stack.call('stop', 'broker', stack.worker);
    for (const id of ids) expect((await stack.docker('inspect', '-f', '{{.State.ExitCode}}', id)).trim()).toBe('0');
  });
});
