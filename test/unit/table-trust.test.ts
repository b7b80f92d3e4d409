import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createTableTrust } from '../../broker/table-trust.ts';
import { pinnedTableKey, pinTableKey } from '../../site-tls/table-key.ts';
import { createRecorder } from '../support/records.ts';
import { tableKey } from '../support/trust.ts';

const [mine, other] = [tableKey(1).publicKey, tableKey(2).publicKey];

function set(published: string | undefined) {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-trust-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const { log, lines } = createRecorder();
  const redis = { published, away: false };
  const start = () => {
    const trust = createTableTrust({
      pinned: pinnedTableKey(dataDir),
      pin: (key) => pinTableKey(dataDir, key),
      async published() {
        if (redis.away) throw new Error('Redis is away');
        return redis.published;
      },
      cure: 'CURE',
      log,
    });
    onTestFinished(() => trust.close());
    return trust;
  };
  return { dataDir, redis, start, lines };
}

describe('the table that a gateway trusts', () => {
  it('is the first that it meets, after a restart as well', async () => {
    const { redis, start } = set(undefined);
    const trust = start();
    expect(await trust.meet()).toBeUndefined();
    redis.published = mine;
    expect(await trust.meet()).toBe(mine);
    redis.published = other;
    expect(await trust.meet()).toBe(mine);
    expect(trust.key()).toBe(mine);
    expect(start().key()).toBe(mine);
  });

  it('makes the broker unhealthy while Redis names another one, and not while Redis is away', async () => {
    const { redis, start } = set(mine);
    const trust = start();
    await trust.meet();
    expect(await trust.trouble()).toBeUndefined();
    redis.away = true;
    expect(await trust.trouble()).toBeUndefined();
    [redis.away, redis.published] = [false, other];
    expect(await trust.trouble()).toBe('Redis names another table than the one that this gateway trusts: CURE');
    // the workers of two tables publish theirs in turns
    redis.published = mine;
    expect(await trust.trouble()).toContain('another table');
  });

  it('is looked for until it is met, also while Redis is away at first', async () => {
    const { redis, start } = set(mine);
    redis.away = true;
    const trust = start();
    trust.start();
    await expect(trust.meet()).rejects.toThrow('Redis is away');
    redis.away = false;
    await expect.poll(trust.key).toBe(mine);
  });

  it('is the same for all brokers at one data folder, whichever meets it first', async () => {
    const { dataDir, start } = set(other);
    const trust = start();
    await pinTableKey(dataDir, mine);
    expect(await trust.meet()).toBe(mine);
  });

  it('is not the one of this Redis: that is an error with the cure, once a minute', async () => {
    const { redis, start, lines } = set(mine);
    const trust = start();
    await trust.meet();
    for (let times = 0; times < 3; times++) trust.reportUnsigned('a reply');
    await new Promise(setImmediate);
    expect(lines().filter(({ level }) => level === 50)).toEqual([]);
    expect(lines().filter(({ what }) => what === 'a reply that the table did not sign')).toHaveLength(1);
    redis.published = other;
    const later = start();
    for (let times = 0; times < 3; times++) later.reportUnsigned('a reply');
    await expect
      .poll(() => lines().filter(({ level }) => level === 50))
      .toMatchObject([{ trusted: mine, found: other, cure: 'CURE' }]);
  });
});
