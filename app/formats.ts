import { setTimeout as sleep } from 'node:timers/promises';
import type { IamRole } from '../aws/iam-policy.ts';
import { disconnectRedis, type RedisConnector } from '../queue/redis.ts';
import { claimRedis } from '../queue/redis-format.ts';
import { tableFormat } from '../registry/table-format.ts';
import { NewerFormatError } from '../runtime/newer-format.ts';
import { packageVersion } from '../runtime/version.ts';
import type { App } from './app.ts';
import { connectTable } from './aws.ts';
import { sayRefusal } from './redis.ts';

/** How long a start waits for the answers, and how often a store that was away is asked again; milliseconds. */
const [patienceMs, againMs] = [3000, 60_000];

/**
 * Looks whether Redis and table have forms that this version knows, and marks those that have no mark. A start waits a moment for it, so that
 * nothing is done with data of a later version. Where a store is away, the start goes on, as it does without it, and the part ends
 * when the store is back and turns out to be of a later version.
 * @param role whose rights the table is asked with; undefined: this part reads no table
 * @throws NewerFormatError
 */
export async function claimStores(app: App, redis: RedisConnector, role?: IamRole): Promise<void> {
  const { lifecycle, log } = app;
  sayRefusal(redis, log);
  const asking = new AbortController();
  lifecycle.add({ name: 'formats', close: async () => asking.abort() });
  const claims = [() => claimRedisAt(app, redis)];
  if (role !== undefined) claims.push(() => claimTable(app, role));
  const claiming = claims.map((claim) =>
    untilAnswered(claim, asking.signal, (err) => log.debug({ err }, 'the format of what is stored cannot be read yet')),
  );
  let isStarted = false;
  const all = Promise.all(claiming).then(() => {});
  all.catch((error: Error) => {
    if (isStarted) lifecycle.fail(error);
  });
  const patience = new AbortController();
  // not `unref`: a start that waits for nothing else must not end the process
  await Promise.race([all, sleep(patienceMs, undefined, { signal: patience.signal }).catch(() => {})]).finally(() =>
    patience.abort(),
  );
  isStarted = true;
}

async function untilAnswered(claim: () => Promise<void>, signal: AbortSignal, onAway: (error: unknown) => void) {
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

async function claimTable(app: App, role: IamRole): Promise<void> {
  const found = await connectTable(app, role).format.claim(packageVersion().version);
  if (found.format > tableFormat)
    throw new NewerFormatError(`the table ${app.settings.table}`, { ...found, known: tableFormat });
}
