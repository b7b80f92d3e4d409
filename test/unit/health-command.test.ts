import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { healthCommand } from '../../cli/health.ts';
import { freePort } from '../support/network.ts';

describe('cvm health', () => {
  let [output, complaints]: string[][] = [[], []];
  beforeEach(() => {
    [output, complaints] = [[], []];
    vi.spyOn(console, 'log').mockImplementation((line: string) => void output?.push(line));
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
    await healthCommand().parseAsync(target, { from: 'user' });
    expect(process.exitCode).toBe(1);
    expect(output).toEqual([]);
    expect(complaints).toEqual([expect.stringContaining('ECONNREFUSED')]);
  });

  it.each([
    ['two checks at once', ['--port', '8883', '--file', '/none'], /cannot be used with/],
    ['a port that is none', ['--port', '99999'], /1 to 65535/],
  ])('refuses %s', async (_what, argv, message) => {
    const command = healthCommand()
      .exitOverride()
      .configureOutput({ writeErr() {} });
    await expect(command.parseAsync(argv, { from: 'user' })).rejects.toThrow(message);
  });
});
