import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort, until } from './network.ts';

/** One server process, which a test can end, freeze and start again on its port. */
export type Server = {
  readonly port: number;
  readonly redis: Redis;
  signal(name: NodeJS.Signals): void;
  kill(): Promise<void>;
  start(): Promise<void>;
};

/** Redis servers of one test, on free ports of 127.0.0.1. `valkey-server` instead, where it is named. */
export function redisServers(program = 'redis-server') {
  const root = mkdtempSync(join(tmpdir(), 'cvm-redis-servers-'));
  const servers: Server[] = [];
  const closers: (() => Promise<void>)[] = [];

  async function server(lines: readonly string[], args: readonly string[] = []): Promise<Server> {
    const port = await freePort();
    const folder = join(root, String(port));
    mkdirSync(folder);
    const file = join(folder, 'server.conf');
    writeFileSync(file, [`port ${port}`, 'bind 127.0.0.1', `dir "${folder}"`, 'save ""', ...lines, ''].join('\n'));
    const password = /^requirepass (\S+)/m.exec(lines.join('\n'))?.[1];
    let child: ChildProcess | undefined;
    const redis = new Redis({
      port,
      host: '127.0.0.1',
      lazyConnect: true,
      enableReadyCheck: false,
      retryStrategy: () => 50,
      ...(password === undefined ? {} : { password }),
    });
    redis.on('error', () => {});
    const self: Server = {
      port,
      redis,
      signal: (name) => void child?.kill(name),
      async kill() {
        if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
        const gone = once(child, 'exit');
        child.kill('SIGCONT');
        child.kill('SIGKILL');
        await gone;
      },
      async start() {
        child = spawn(program, [file, ...args], { stdio: 'ignore' });
        await until(async () => (await redis.ping().catch(() => '')) === 'PONG', 60_000, `${program} ${port} is up`);
      },
    };
    servers.push(self);
    closers.push(async () => {
      redis.disconnect();
      await self.kill();
    });
    await self.start();
    return self;
  }

  return {
    server,
    /** A master with replicas, and Sentinels that watch them: all of them `appendonly`, as the page says. */
    async withSentinels({ replicas = 2, sentinels = 3, password = '', sentinelPassword = '' } = {}) {
      const data = ['appendonly yes', 'appendfsync always', 'repl-diskless-sync-delay 0', 'repl-timeout 5'];
      const secret = password === '' ? [] : [`requirepass ${password}`, `masterauth ${password}`];
      const master = await server([...data, ...secret]);
      const others: Server[] = [];
      for (let count = 0; count < replicas; count++)
        others.push(await server([...data, ...secret, `replicaof 127.0.0.1 ${master.port}`]));
      await untilLinked(master, replicas);
      const watch = [
        `sentinel monitor mymaster 127.0.0.1 ${master.port} 2`,
        'sentinel down-after-milliseconds mymaster 2000',
        'sentinel failover-timeout mymaster 3000',
        ...(password === '' ? [] : [`sentinel auth-pass mymaster ${password}`]),
        ...(sentinelPassword === '' ? [] : [`requirepass ${sentinelPassword}`]),
      ];
      const watchers: Server[] = [];
      for (let count = 0; count < sentinels; count++) watchers.push(await server(watch, ['--sentinel']));
      await until(
        async () => {
          const infos = await Promise.all(watchers.map(({ redis }) => redis.info('sentinel')));
          return infos.every((info) => info.includes(`slaves=${replicas},sentinels=${sentinels}`));
        },
        60_000,
        'the Sentinels know each other',
      );
      const user = password === '' ? '' : `:${password}@`;
      const hosts = watchers.map(({ port }) => `127.0.0.1:${port}`).join(',');
      return { master, replicas: others, sentinels: watchers, url: `redis+sentinel://${user}${hosts}/mymaster/0` };
    },
    /** Three masters with a replica each. */
    async cluster() {
      const lines = ['cluster-enabled yes', 'cluster-node-timeout 3000', 'appendonly yes', 'appendfsync always'];
      const quick = ['repl-diskless-sync-delay 0', 'cluster-replica-validity-factor 0'];
      const [nodes, buses]: [Server[], number[]] = [[], []];
      for (let count = 0; count < 6; count++) {
        // the usual one, port + 10000, may be that of an outgoing connection
        const bus = await freePort();
        buses.push(bus);
        nodes.push(await server([...lines, ...quick, `cluster-port ${bus}`]));
      }
      const [first] = nodes as [Server];
      for (const [index, { port }] of nodes.entries())
        if (index > 0) await first.redis.call('CLUSTER', 'MEET', '127.0.0.1', port, buses[index] ?? 0);
      for (const [index, { redis }] of nodes.slice(0, 3).entries())
        await redis.call('CLUSTER', 'ADDSLOTSRANGE', index * 5462, Math.min(16_383, index * 5462 + 5461));
      const ids = await Promise.all(nodes.map(({ redis }) => redis.cluster('MYID')));
      for (const [index, { redis }] of nodes.slice(3).entries())
        await until(
          async () => (await redis.call('CLUSTER', 'REPLICATE', ids[index] ?? '').catch(() => '')) === 'OK',
          60_000,
          'a replica knows its master',
        );
      await until(
        async () => {
          const states = await Promise.all(nodes.map(({ redis }) => redis.cluster('INFO')));
          return states.every((state) => state.includes('cluster_state:ok'));
        },
        60_000,
        'the Cluster is up',
      );
      for (const node of nodes.slice(0, 3)) await untilLinked(node, 1);
      const url = `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
      /** The node that has our keys now. */
      const owner = async (key: string): Promise<Server> => {
        for (const node of nodes) {
          const answer = await node.redis.exists(key).then(
            () => node,
            () => undefined,
          );
          if (answer !== undefined) return answer;
        }
        throw new Error('no node has the slot');
      };
      return { nodes, url, owner };
    },
    async close() {
      for (const close of closers.reverse()) await close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

const untilLinked = ({ redis }: Server, replicas: number) =>
  until(
    async () => {
      const info = await redis.info('replication');
      return info.split('state=online').length - 1 === replicas;
    },
    60_000,
    `${replicas} replicas are linked`,
  );
