import { Command } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { awsCommand } from '../../cli/aws.ts';
import { createCommandLine } from '../../cli/command-line.ts';
import { prepare } from '../../cli/program.ts';

describe('what is said of a command line that is wrong', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  async function said(...argv: string[]): Promise<string> {
    let text = '';
    vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    const reissue = new Command('reissue')
      .argument('<serial>')
      .option('-x, --expires <duration>')
      .action(() => {});
    const program = prepare(
      new Command('cvm').addCommand(new Command('devices').addCommand(reissue)).addCommand(
        awsCommand({
          ...createCommandLine({}),
          write() {},
          now: Date.now,
          table: () => ({ restoration: { async note() {} } }),
        }),
      ),
    );
    const failed = await program.parseAsync(argv, { from: 'user' }).catch((error: Error) => error);
    expect(failed).toMatchObject({ exitCode: 1 });
    return text;
  }

  it.each(['--token=SECRET', "--token=SEC'RET", '--expire=SECRET', '--token=\nSECRET', '-tSECRET'])(
    'has no value of an option that is not known: %j',
    async (option) => {
      const text = await said('devices', 'reissue', 'SN-1', option);
      expect(text).toContain(`unknown option '${/^--\w+=|^-t/.exec(option)}…'`);
      expect(text).not.toMatch(/SEC|RET/);
    },
  );

  it('names an AWS account that is none', async () => {
    expect(await said('aws', 'policy', '--account', '12345')).toContain('An AWS account has 12 digits.');
  });

  it('is whole otherwise', async () => {
    expect(await said('devices', 'reissue')).toContain("missing required argument 'serial'");
    expect(await said('devices', 'reissue', 'SN-1', '--expire')).toMatch(/unknown option '--expire'\s.*--expires/);
    expect(await said('devices', 'reissue', 'SN-1', '-x')).toContain("option '-x, --expires <duration>'");
  });
});
