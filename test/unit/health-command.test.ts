import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { healthCommand } from '../../cli/health.ts';
import { freePort } from '../support/network.ts';

describe('cvm health', () => {
  let [output, complaints]: string[][] = [[], []];
  const health = () => healthCommand({ write: (line) => void output?.push(line) });
  beforeEach(() => {
    [output, complaints] = [[], []];
    vi.spyOn(console, 'error').mockImplementation((line: string) => void complaints?.push(line));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });

  it.each(['--port', '--url'])('says on standard error why a part does not answer (%s)', async (option) => {
    const port = await freePort();
    const target =
      option === '--port' ? ['--host', 'localhost', '--port', String(port)] : ['--url', `http://127.0.0.1:${port}/`];
    await health().parseAsync(target, { from: 'user' });
    expect(process.exitCode).toBe(1);
    expect(output).toEqual([]);
    expect(complaints).toEqual([expect.stringMatching(/^nothing listens at .* \(ECONNREFUSED\): .*see its log/)]);
  });

  it.each([
    ['a port that HTTP clients refuse', ['--url', 'http://127.0.0.1:1/'], /serve it on another port/],
    [
      'a file that does not exist',
      ['--file', '/does/not/exist'],
      /^\/does\/not\/exist does not exist: .*correct the path/,
    ],
  ])('says the cure for %s', async (_what, argv, text) => {
    await health().parseAsync(argv, { from: 'user' });
    expect([complaints, process.exitCode]).toEqual([[expect.stringMatching(text)], 1]);
  });

  describe('of a part that listens', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-health-'));
    const trouble = join(folder, 'broker.trouble');
    const server = createServer((socket) => socket.destroy());
    let port = 0;
    beforeAll(async () => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      port = (server.address() as AddressInfo).port;
    });
    afterAll(() => {
      server.close();
      rmSync(folder, { recursive: true });
    });
    const check = () =>
      health().parseAsync(['--port', String(port), '--trouble', trouble, '--max-age', '15'], { from: 'user' });

    it('is good without a trouble, and with one of long ago', async () => {
      writeFileSync(join(folder, 'broker.alive'), '');
      await check();
      writeFileSync(trouble, 'it turned devices away');
      utimesSync(trouble, Date.now() / 1000, Date.now() / 1000 - 20);
      await check();
      expect([output, process.exitCode]).toEqual([['ok', 'ok'], 0]);
    });

    it.each([
      ['in a folder that does not exist', join(folder, 'mistyped', 'broker.trouble'), /the folder does not exist/],
      ['that is a folder', folder, /it is no file/],
    ])('does not take a path for good: one %s', async (_what, path, text) => {
      await health().parseAsync(['--port', String(port), '--trouble', path], { from: 'user' });
      expect([complaints, process.exitCode]).toEqual([[expect.stringMatching(text)], 1]);
    });

    it('is bad when the part is frozen, although the port of a frozen process takes connections', async () => {
      const file = join(folder, 'broker.alive');
      writeFileSync(file, '');
      const both = () => health().parseAsync(['--port', String(port), '--file', file], { from: 'user' });
      await both();
      expect([output, process.exitCode]).toEqual([['ok'], 0]);
      utimesSync(file, Date.now() / 1000, Date.now() / 1000 - 60);
      await both();
      expect([complaints, process.exitCode]).toEqual([[expect.stringMatching(/frozen or blocked; .*restart it/)], 1]);
    });

    it('says the site, where the part has one', async () => {
      const file = join(folder, 'worker.alive');
      writeFileSync(file, 'alive, site plant-7\n');
      await health().parseAsync(['--file', file], { from: 'user' });
      await health().parseAsync(['--trouble', join(folder, 'worker.trouble')], { from: 'user' });
      expect([output, process.exitCode]).toEqual([['ok, site plant-7', 'ok, site plant-7'], 0]);
    });

    it('is bad without a trouble when the part does not run, or the path has a mistake', async () => {
      const told = (path: string) => health().parseAsync(['--trouble', path], { from: 'user' });
      writeFileSync(join(folder, 'broker.alive'), '');
      utimesSync(join(folder, 'broker.alive'), Date.now() / 1000, Date.now() / 1000 - 60);
      rmSync(trouble, { force: true });
      await told(trouble);
      await told(join(folder, 'brocker.trouble'));
      expect([output, complaints, process.exitCode]).toEqual([
        [],
        [
          expect.stringMatching(/broker\.alive was last written to 6\d s ago: the part has ended/),
          expect.stringMatching(/brocker\.trouble: neither it nor .*brocker\.alive is there: .*give the path/),
        ],
        1,
      ]);
    });

    it('says so when the part could not write which trouble it has', async () => {
      writeFileSync(trouble, '');
      await check();
      expect([complaints, process.exitCode]).toEqual([
        [expect.stringMatching(/broker\.trouble is empty: .*free space/)],
        1,
      ]);
    });

    it('says which trouble the part has written down just now', async () => {
      writeFileSync(trouble, 'it turns devices away\n');
      await check();
      expect([complaints, process.exitCode]).toEqual([['it turns devices away'], 1]);
    });
  });

  it.each([
    ['of now', 0, undefined],
    ['of an hour ago', -3600, 1],
    ['of a part that died before the clock was set back by an hour', 3600, 1],
  ])('judges a file by its time: one %s', async (_what, seconds, status) => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-health-'));
    const file = join(folder, 'alive');
    writeFileSync(file, '');
    const time = Date.now() / 1000 + seconds;
    utimesSync(file, time, time);
    await health().parseAsync(['--file', file], { from: 'user' });
    expect(process.exitCode === 0 ? undefined : process.exitCode).toBe(status);
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['two addresses at once', ['--port', '8883', '--url', 'http://localhost/'], /cannot be used with/],
    ['no check at all', [], /give --port, --url, --file or --trouble/],
    ['an empty path', ['--port', '8883', '--trouble='], /path of a file/],
    ['a port that is none', ['--port', '99999'], /1 to 65535/],
  ])('refuses %s', async (_what, argv, message) => {
    const command = health()
      .exitOverride()
      .configureOutput({ writeErr() {} });
    await expect(command.parseAsync(argv, { from: 'user' })).rejects.toThrow(message);
  });
});
