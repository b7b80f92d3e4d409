import { renameSync, writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';

/**
 * The wall clock of a gateway's machine. A step moves it for the broker and the workers (`wall-clock.ts`), and for Redis,
 * which stores the time at which each key ends: after a step forward keys end sooner, after a step back later. Redis itself
 * runs on the machine's clock, so the ends of its keys are moved the other way, which comes to the same.
 */
export function createClock(file: string) {
  let aheadMs = 0;
  return {
    file,
    aheadMs: () => aheadMs,
    async step(ms: number, redisUrl: string): Promise<void> {
      aheadMs += Math.round(ms);
      // whole at every moment
      writeFileSync(`${file}.new`, String(aheadMs));
      renameSync(`${file}.new`, file);
      await moveEnds(redisUrl, Math.round(ms));
    },
  };
}

const script = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then
    local moved = left - tonumber(ARGV[1])
    if moved <= 0 then redis.call('DEL', key) else redis.call('PEXPIRE', key, string.format('%.0f', moved)) end
  end
end`;

async function moveEnds(redisUrl: string, ms: number): Promise<void> {
  const redis = new Redis(redisUrl);
  try {
    await redis.eval(script, 0, ms);
  } finally {
    redis.disconnect();
  }
}
