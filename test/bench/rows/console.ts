import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { resetPassword } from '../../../console/password.ts';
import type { DirectoryEntry } from '../../../queue/directory.ts';
import { redisAt } from '../../../queue/redis.ts';
import { createDirectoryKeeper } from '../../../queue/redis-directory.ts';
import { listedAtMost } from '../../../registry/silent-devices.ts';
import { createLog } from '../../../runtime/log.ts';
import { loadSettings } from '../../../runtime/settings.ts';
import type { Figure } from '../../chaos/figures.ts';
import { openTable } from '../../support/association-table.ts';
import { freePort } from '../../support/network.ts';
import { type Row, type RowContext, rounded } from '../row.ts';
import { type AwsAccount, type Console, startRedis } from '../site.ts';

const sizes = [100_000, 1_000_000] as const;
const calls = 200;
const goalMs = 300;
const site = 'plant-1';

/** Serials of 16 characters, spread as those of several years of production are. */
const serialOf = (index: number) => `SN${String(index % 97).padStart(2, '0')}-${String(index).padStart(11, '0')}`;
const states = ['registered', 'registered', 'registered', 'enrolled', 'blocked'] as const;
const madeAt = 1_790_000_000;

function entryOf(index: number): DirectoryEntry {
  const state = states[index % states.length] ?? 'enrolled';
  const times = state === 'enrolled' ? {} : { requestedAt: madeAt + index, registeredAt: madeAt + index };
  return { serial: serialOf(index), state, ofSite: index % 2 === 0, ...times };
}

/** What a person asks for, each time elsewhere. @param size how many devices there are */
const queries: readonly (readonly [name: string, of: (index: number, size: number) => string])[] = [
  ['first page', () => ''],
  ['a deep page', (index, size) => `&after=${serialOf((index * 4999) % size)}`],
  ['the last page', () => '&after=SN96-00000000001'],
  ['search by a prefix of 4', (index) => `&prefix=${serialOf(index).slice(0, 4)}`],
  ['search by a prefix of 14', (index, size) => `&prefix=${serialOf((index * 4999) % size).slice(0, 14)}`],
  ['by state', (index) => `&state=${states[index % states.length]}`],
  ['by state, deep', (index, size) => `&state=registered&after=${serialOf((index * 4999) % size)}`],
  ['by site', () => `&site=${site}`],
  ['by site, deep', (index, size) => `&site=${site}&after=${serialOf((index * 4999) % size)}`],
  ['by prefix, state and site', (index) => `&prefix=${serialOf(index).slice(0, 4)}&state=blocked&site=${site}`],
  ['never connected to AWS', () => '&silent=true'],
  ['never connected to AWS, by prefix', (index) => `&silent=true&prefix=${serialOf(index).slice(0, 4)}`],
];

/** The list of devices as a browser gets it: `cvm console` in a process of its own, by TLS, with a session. */
export const console: Row = {
  name: 'console',
  title: `the console's list of ${sizes.join(' and ')} devices by HTTPS, with a session: each filter, first and deep pages of 50`,
  minutes: 3,
  async run({ sites, say }: RowContext) {
    const aws = await sites.startAws({ quotas: 'default' });
    const folder = sites.folder('console');
    const port = await freePort();
    const redis = await startRedis(folder, port);
    const url = `redis://127.0.0.1:${port}/0`;
    const keeper = createDirectoryKeeper(redisAt(url), createLog('silent'));
    const dataFolder = join(folder, 'data');
    const figures: Figure[] = [];
    try {
      await writeSilentReport(aws);
      const server = await sites.startConsole(aws, dataFolder, { REDIS_URL: url, CVM_SITE: site });
      const person = await signIn(server, await resetPassword(dataFolder, 'operator'));
      await keeper.clear();
      let filled = 0;
      for (const size of sizes) {
        say(`${size} devices`);
        while (filled < size) {
          await keeper.fill(Array.from({ length: 500 }, (_, index) => entryOf(filled + index)));
          filled += 500;
        }
        for (const [name, of] of queries)
          figures.push(await timesOf(`${size}: ${name}`, (index) => person.get(`/devices?limit=50${of(index, size)}`)));
      }
      person.close();
      await server.process.stop();
      return { figures };
    } finally {
      await keeper.close();
      await redis.stop();
    }
  },
};

/** As a sweep writes it. Each fifth device is enrolled, and each fifth blocked: these it has not found. */
async function writeSilentReport({ env }: AwsAccount): Promise<void> {
  const client = new DynamoDBClient({
    endpoint: env.AWS_ENDPOINT_URL_DYNAMODB ?? '',
    region: env.AWS_REGION ?? '',
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID ?? '', secretAccessKey: env.AWS_SECRET_ACCESS_KEY ?? '' },
  });
  const oldest = Array.from({ length: listedAtMost }, (_, index) => 5 * index).map((index) => ({
    serial: serialOf(index),
    issuedAt: (madeAt + index) * 1000,
    ...(index % 2 === 0 ? { site } : {}),
  }));
  await openTable(client, loadSettings({}).table).silent.write({
    at: Date.now(),
    count: oldest.length,
    unasked: 0,
    oldest,
  });
  client.destroy();
}

async function signIn({ port, caPem }: Console, password: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const call = (method: string, path: string, headers: Record<string, string>, body?: object) =>
    new Promise<{ status: number; cookie: string }>((resolve, reject) => {
      const to = { host: '127.0.0.1', port, ca: caPem, servername: 'localhost', agent, method, path: `/api/v1${path}` };
      const type = body === undefined ? {} : { 'content-type': 'application/json' };
      const sent = request({ ...to, headers: { ...type, ...headers } }, (answer) => {
        answer.resume();
        answer.on('end', () => {
          const [cookie = ''] = answer.headers['set-cookie']?.[0]?.split(';') ?? [];
          resolve({ status: answer.statusCode ?? 0, cookie });
        });
      });
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const { status, cookie } = await call('POST', '/session', {}, { password });
  if (status !== 200) throw new Error(`signing in was answered ${status}`);
  return {
    async get(path: string): Promise<void> {
      const answer = await call('GET', path, { cookie });
      if (answer.status !== 200) throw new Error(`${path} was answered ${answer.status}`);
    },
    close: () => agent.destroy(),
  };
}

/** One call after the other, no more in a second than the console takes from one caller. */
async function timesOf(name: string, act: (index: number) => Promise<void>): Promise<Figure> {
  const times: number[] = [];
  for (let index = 0; index < calls; index++) {
    const began = performance.now();
    await act(index);
    const took = performance.now() - began;
    times.push(took);
    await delay(Math.max(0, 55 - took));
  }
  times.sort((one, other) => one - other);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))] ?? Number.NaN;
  const unit = `ms (p99 ${rounded(at(0.99))}, longest ${rounded(at(1))})`;
  return { name, value: rounded(at(0.5)), unit, goal: `≤ ${goalMs}, p99 too`, holds: at(0.99) <= goalMs };
}
