import { findRedisServer } from '../runtime/redis-server.ts';
import { ensureCommand } from '../runtime/system-packages.ts';

/** `npm start` runs this first, so that a fresh machine needs nothing by hand. `cvm up` itself installs nothing. */
if (findRedisServer(process.env.PATH ?? '') === undefined) {
  const redis = await ensureCommand('redis-server', { env: process.env, write: (line) => console.error(line) });
  // `cvm up` names the command to run
  if (!redis.ok) console.error(`redis-server could not be installed: ${redis.reason}`);
}
