import type { Redis } from 'ioredis';

/** How many bytes the server sends to all clients while `work` is done. */
export async function bytesSentFor(redis: Redis, work: () => Promise<unknown>): Promise<number> {
  const sent = async () => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))?.[1]);
  const before = await sent();
  await work();
  return (await sent()) - before;
}
