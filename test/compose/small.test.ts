import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { composeStack, eventually, findCompose, image } from './compose.ts';

const compose = findCompose();
const project = `cvmsmall${process.pid}`;
const services = ['redis', 'broker', 'worker-local', 'console-local', 'aws-local'];

/** For how long an idle stack is measured, and how long after its start, in milliseconds. */
const [idleMs, settleMs] = [60_000, 60_000];

describe.skipIf(compose === undefined)('a compose stack with half a core and 256 MB for each container', () => {
  const stackWith = (more: NodeJS.ProcessEnv = {}) =>
    composeStack(compose ?? [], {
      project,
      profile: 'local-aws',
      env: {
        CVM_MQTT_PORT: '28911',
        CVM_CONSOLE_PORT: '28447',
        CVM_AWS_LOCAL_HTTP_PORT: '24596',
        CVM_AWS_LOCAL_MQTT_PORT: '28912',
        CVM_CPUS: '0.5',
        CVM_MEMORY: '256m',
        CVM_BROKER_CPUS: '0.5',
        CVM_BROKER_MEMORY: '256m',
        ...more,
      },
    });
  const stack = stackWith();

  type About = {
    State: { OOMKilled: boolean };
    RestartCount: number;
    HostConfig: { NanoCpus: number; Memory: number; PidsLimit: number };
  };
  async function about(service: string): Promise<About> {
    const [id = ''] = await stack.containers(service);
    const [found] = JSON.parse(await stack.docker('inspect', id)) as About[];
    if (found === undefined) throw new Error(`${service} does not run`);
    return found;
  }

  beforeAll(async () => {
    await stack.call('up', '-d');
    await eventually('the table', () => stack.cvm('devices', 'list'));
    for (const service of services)
      await eventually(service, async () => {
        const [id = ''] = await stack.containers(service);
        expect(await stack.healthOf(id)).toBe('healthy');
      });
  });
  afterAll(() => stack.down());

  // a figure to read, and none to fail by: other work shares the machine
  it('tells how much CPU it takes while nothing happens', async () => {
    const usage = async () => Promise.all(services.map(async (service) => cpuOf(await stack.containers(service))));
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    const before = await usage();
    await new Promise((resolve) => setTimeout(resolve, idleMs));
    const after = await usage();
    const shares = services.map((service, at) => [service, ((after[at] ?? 0) - (before[at] ?? 0)) / idleMs] as const);
    const percent = (share: number) => `${(share * 100).toFixed(2)} %`;
    const sum = shares.reduce((total, [, share]) => total + share, 0);
    console.log(
      `idle CPU of a core: ${percent(sum)} (${shares.map(([name, share]) => `${name} ${percent(share)}`).join(', ')})`,
    );
    expect(shares).toHaveLength(services.length);
  });

  it('provisions fifty devices, and no container meets its limit of memory', async () => {
    const report = await stack.call('run', '--rm', '-T', 'sim', '--devices', '50', '--flow', 'ec', '--json');
    expect(JSON.parse(report)).toMatchObject({ accepted: 50 });
    for (const service of services) {
      const { State, RestartCount, HostConfig } = await about(service);
      expect(HostConfig, service).toMatchObject({ NanoCpus: 5e8, Memory: 256 * 1024 * 1024, PidsLimit: 256 });
      expect({ killed: State.OOMKilled, restarts: RestartCount }, service).toEqual({ killed: false, restarts: 0 });
    }
  });

  it('gives Redis half of its memory for data', async () => {
    const ask =
      'REDISCLI_AUTH=$(cat /redis-password/password) $(command -v valkey-cli || command -v redis-cli) config get maxmemory';
    expect(await stack.call('exec', '-T', 'redis', 'sh', '-c', ask)).toContain(String(128 * 1024 * 1024));
  });

  async function provision(serial: string) {
    const caPem = await stack.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca');
    const [line = ''] = (await stack.cvm('devices', 'add', serial, '--json')).trim().split('\n');
    const { token } = JSON.parse(line) as { token: string };
    return eventually(`provisioning ${serial}`, () => askOnce({ port: 28911, caPem }, serial, { token, key: 'ec' }));
  }

  // https://github.com/valkey-io/valkey/issues/1148: the server alone does not start any more
  it('goes on after a power cut that left zeros behind the last command in the file of Redis, with all that was stored', async () => {
    const caPem = await stack.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca');
    const [line = ''] = (await stack.cvm('devices', 'add', 'after-zeros', '--json')).trim().split('\n');
    const { token } = JSON.parse(line) as { token: string };
    const ask = () =>
      eventually('a certificate', () => askOnce({ port: 28911, caPem }, 'after-zeros', { token, key: 'ec' }));
    const first = await ask();
    await stack.kill('redis');
    const cut = 'for file in appendonlydir/*.incr.aof; do head -c 70000 /dev/zero >> $file; done';
    const run = ['run', '--rm', '--user', '999:999', '-w', '/data', '-v', `${project}_redis:/data`];
    await stack.docker(...run, '--entrypoint', 'sh', image, '-c', cut);
    await stack.call('up', '-d');
    expect(await ask()).toMatchObject({ certificateId: first.certificateId });
    expect(await stack.call('logs', '--no-color', 'redis')).toContain('zeros at its end');
  });

  /** As a disk that was replaced. */
  async function lose(volume: string): Promise<void> {
    await stack.call('down', '-t', '5');
    await stack.docker('volume', 'rm', `${project}_${volume}`);
    await stack.call('up', '-d');
    await eventually('the table', () => stack.cvm('devices', 'list'));
  }

  it.each(['redis', 'redis-password', 'metrics-token', 'audit'])(
    'goes on by itself when the volume %s is lost',
    async (volume) => {
      await lose(volume);
      expect(await provision(`after-${volume}`)).toMatchObject({ status: 'accepted' });
    },
  );

  it('does not serve with other keys when the volume broker is lost, says so, and goes on when it is approved', async () => {
    await lose('broker');
    const id = await eventually('the word of the broker', async () => {
      const said = await stack.call('logs', '--no-color', 'broker');
      return /cvm tls approve ([0-9a-f]{8,})/.exec(said)?.[1] ?? Promise.reject(new Error(said.slice(-500)));
    });
    await stack.cvm('tls', 'approve', id);
    expect(await provision('after-broker')).toMatchObject({ status: 'accepted' });
  });
});

/** Milliseconds of CPU that containers have used, with the processes that the engine started in them. */
function cpuOf(ids: readonly string[]): number {
  return ids.reduce((sum, id) => sum + cpuOfOne(id), 0);
}

function cpuOfOne(id: string): number {
  for (const read of [
    () => Number(readFileSync(`/sys/fs/cgroup/cpuacct/docker/${id}/cpuacct.usage`, 'utf8')) / 1e6,
    () => microseconds(`/sys/fs/cgroup/system.slice/docker-${id}.scope/cpu.stat`) / 1000,
    () => microseconds(`/sys/fs/cgroup/docker/${id}/cpu.stat`) / 1000,
  ]) {
    try {
      return read();
    } catch {
      // the engine keeps it elsewhere
    }
  }
  return Number.NaN;
}

const microseconds = (file: string): number => Number(/^usage_usec (\d+)/m.exec(readFileSync(file, 'utf8'))?.[1]);
