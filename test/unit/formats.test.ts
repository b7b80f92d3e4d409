import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { App } from '../../app/app.ts';
import { claimStores } from '../../app/formats.ts';
import type { RedisConnector } from '../../queue/redis.ts';
import { createLog } from '../../runtime/log.ts';

/** Soon enough for a test. */
const times = { patienceMs: 10_000, againMs: 5, anewMs: 5 };

describe('a part that runs', () => {
  let dataDir: string;
  let parts: { close(): Promise<void> }[];
  let mark: string | Error;
  let ended: Promise<Error>;
  let app: App;
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-formats-'));
    [parts, mark] = [[], '{"format":1}'];
    const log = createLog('silent');
    ended = new Promise((resolve) => {
      const lifecycle = { add: (part: { close(): Promise<void> }) => void parts.push(part), fail: resolve };
      app = { settings: { dataDir }, log, lifecycle } as unknown as App;
    });
  });
  afterEach(async () => {
    for (const part of parts) await part.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  const connector = {
    where: 'redis:6379',
    connect: () =>
      Object.assign(new EventEmitter(), {
        status: 'end',
        disconnect() {},
        async get() {
          if (mark instanceof Error) throw mark;
          return mark;
        },
      }),
  } as unknown as RedisConnector;

  it('ends, with cause and cure, when a part that was upgraded before it has raised the format of Redis', async () => {
    await claimStores(app, connector, undefined, times);
    mark = '{"format":2,"by":"9.0.0"}';
    expect(await ended).toMatchObject({
      message: expect.stringMatching(/the Redis at redis:6379 has format 2, by cvm 9\.0\.0/),
      cure: expect.stringContaining('run cvm 9.0.0 or newer'),
    });
  });

  it('ends when one has raised the format of the data folder that they share', async () => {
    await claimStores(app, connector, undefined, times);
    writeFileSync(join(dataDir, 'format.json'), '{"format":2,"by":"9.0.0"}');
    expect((await ended).message).toMatch(/the data folder .* has format 2, by cvm 9\.0\.0/);
  });

  it('goes on while Redis is away, and looks again when it is back', async () => {
    await claimStores(app, connector, undefined, times);
    mark = new Error('Redis is away');
    const first = await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 50, 'goes on'))]);
    expect(first).toBe('goes on');
    mark = '{"format":2,"by":"9.0.0"}';
    expect((await ended).message).toContain('has format 2');
  });
});
