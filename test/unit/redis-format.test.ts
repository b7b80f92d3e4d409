import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { claimRedis } from '../../queue/redis-format.ts';

/** The two commands that are used, on one key. */
function redisWith(mark: string | null) {
  const written: unknown[][] = [];
  const redis = { get: async () => mark, set: async (...given: unknown[]) => void written.push(given) };
  return { claim: () => claimRedis(redis as unknown as Redis, '1.0.0', 'redis:6379'), written };
}

describe('the format of Redis', () => {
  it('is marked where there is no mark, and only there', async () => {
    const { claim, written } = redisWith(null);
    await claim();
    expect(written).toEqual([['{cvm}:format', '{"format":1,"by":"1.0.0"}', 'NX']]);
    const marked = redisWith('{"format":1,"by":"0.2.0"}');
    await marked.claim();
    expect(marked.written).toEqual([]);
  });

  it('of a later version is refused, with the version to run, and left as it is', async () => {
    const { claim, written } = redisWith('{"format":2,"by":"9.0.0","more":1}');
    await expect(claim()).rejects.toMatchObject({
      message: expect.stringMatching(/the Redis at redis:6379 has format 2, by cvm 9\.0\.0/),
      cure: expect.stringContaining('run cvm 9.0.0 or newer'),
    });
    expect(written).toEqual([]);
  });

  it.each(['', '{', '[]', '7', 'null', '{"format":"2"}', '{"format":0}', '{"format":1.5}', '{"format":2,"by":{}}'])(
    'that is none stops nobody, since anybody may have written it: %s',
    async (mark) => {
      const { claim, written } = redisWith(mark);
      await claim();
      expect(written).toEqual([]);
    },
  );
});
