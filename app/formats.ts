import { setTimeout as sleep } from 'node:timers/promises';
import type { IamRole } from '../aws/iam-policy.ts';
import { disconnectRedis, type RedisConnector } from '../queue/redis.ts';
import { claimRedis } from '../queue/redis-format.ts';
import { type TableFormat, tableFormat } from '../registry/table-format.ts';
import { NewerFormatError } from '../runtime/newer-format.ts';
import { packageVersion } from '../runtime/version.ts';
import { checkDataFolder } from '../site-tls/data-format.ts';
import type { App } from './app.ts';
import { sayRefusal } from './redis.ts';

/** How long a start waits for the first answers, how often a store that was away is asked again, and how often all are looked at anew; milliseconds. */
const usualTimes = { patienceMs: 3000, againMs: 60_000, anewMs: 60_000 };

/**
 * Looks whether Redis and table have forms that this version knows, and marks those that have no mark. A start waits a moment for it, so that
 * nothing is done with data of a later version. Where a store is away, the start goes on, as it does without it. Each store, and the data folder,
 * is looked at again for as long as the part runs: it ends when another part, which was upgraded before it, has raised the form.
 * @param role whose rights the table is asked with; undefined: this part reads no table
 * @throws NewerFormatError
 */
export async function claimStores(app: App, redis: RedisConnector, role?: IamRole, times = usualTimes): Promise<void> {
  const { patienceMs, againMs, anewMs } = times;
  const { lifecycle, log } = app;
  sayRefusal(redis, log);
  const asking = new AbortController();
  lifecycle.add({ name: 'formats', close: async () => asking.abort() });
  const claims = [() => claimRedisAt(app, redis), async () => void checkDataFolder(app.settings.dataDir)];
  if (role !== undefined) {
    // not in a broker, which asks no AWS: the SDK costs a third of its start
    const { format } = (await import('./aws.ts')).connectTable(app, role);
    claims.push(() => claimTable(app, format));
  }
  let isStarted = false;
  const onNewer = (error: Error) => {
    if (isStarted) lifecycle.fail(error);
  };
  const onAway = (err: unknown) => log.debug({ err }, 'the format of what is stored cannot be read');
  const ask = (claim: () => Promise<void>) => untilAnswered(claim, againMs, asking.signal, onAway);
  const claiming = claims.map((claim) => {
    const first = ask(claim);
    first.then(() => again(() => ask(claim), anewMs, asking.signal)).catch(onNewer);
    return first;
  });
  const all = Promise.all(claiming).then(() => {});
  all.catch(() => {});
  const patience = new AbortController();
  // not `unref`: a start that waits for nothing else must not end the process
  await Promise.race([all, sleep(patienceMs, undefined, { signal: patience.signal }).catch(() => {})]).finally(() =>
    patience.abort(),
  );
  isStarted = true;
}

async function again(ask: () => Promise<void>, everyMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(everyMs, undefined, { ref: false, signal }).catch(() => {});
    await ask();
  }
}

async function untilAnswered(
  claim: () => Promise<void>,
  againMs: number,
  signal: AbortSignal,
  onAway: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      return await claim();
    } catch (error) {
      if (error instanceof NewerFormatError) throw error;
      onAway(error);
      await sleep(againMs, undefined, { ref: false, signal }).catch(() => {});
    }
  }
}

async function claimRedisAt({ log }: App, connector: RedisConnector): Promise<void> {
  const redis = connector.connect('wait', log.child({}, { level: 'silent' }));
  try {
    await claimRedis(redis, packageVersion().version, connector.where);
  } finally {
    await disconnectRedis(redis);
  }
}

async function claimTable(app: App, format: TableFormat): Promise<void> {
  const found = await format.claim(packageVersion().version);
  if (found.format > tableFormat)
    throw new NewerFormatError(`the table ${app.settings.table}`, { ...found, known: tableFormat });
}
