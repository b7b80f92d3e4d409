import { Command } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { awsCommand } from '../../cli/aws.ts';
import { createCommandLine } from '../../cli/command-line.ts';
import { describeFailure } from '../../cli/failure.ts';
import { failureText } from '../../cli/failure-text.ts';
import { prepare } from '../../cli/program.ts';
import { SettingsError } from '../../runtime/settings-error.ts';
import { UpstreamRefused, UpstreamUnreachable } from '../../runtime/upstream.ts';

describe('what is said of a command line that is wrong', () => {
  let asJson = false;
  afterEach(() => {
    asJson = false;
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
          clock: async () => Date.now,
          table: async () => ({ restoration: { async note() {} } }),
        }),
      ),
      asJson,
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

  it('is the cause, after what to do', async () => {
    expect(await said('devices', 'reissue')).toBe(
      'cvm: → for example: cvm devices reissue SN-1 – "cvm devices reissue --help" says more\n' +
        "     why: missing required argument 'serial'\n",
    );
    expect(await said('devices', 'reissue', 'SN-1', '--expire')).toMatch(
      /^cvm: → did you mean --expires\?.*\n {5}why: unknown option '--expire'\n$/,
    );
    expect(await said('devices', 'reissu', 'SN-1')).toMatch(
      /^cvm: → did you mean reissue\? "cvm devices --help".*\n {5}why: unknown command 'reissu'\n$/,
    );
    expect(await said('devices', 'reissue', 'SN-1', '-x')).toContain("option '-x, --expires <duration>'");
    expect(await said('aws', 'policy', '--for', 'gatway')).toMatch(
      /^cvm: → did you mean gateway\? give one of gateway, operator, .*\n {5}why: option '--for <role...>' argument 'gatway' is invalid\n$/,
    );
  });

  it.each([
    [['SN-1', 'devices'], 'did you mean "cvm devices SN-1"?'],
    [['reissue', 'devices', 'SN-1'], 'did you mean "cvm devices reissue SN-1"?'],
    [['devices', 'SN-1', 'reissue'], 'did you mean "cvm devices reissue SN-1"?'],
    [['devices', '--json', 'reissue', 'SN-1'], 'did you mean "cvm devices reissue SN-1 --json"?'],
  ])('is the line in its right order: %j', async (argv, meant) => {
    expect(await said(...argv)).toContain(`cvm: → ${meant}`);
  });

  it('has no value of an option in that line, which may be a secret', async () => {
    expect(await said('SN-1', 'devices', '--token', 'SECRET')).not.toContain('SECRET');
    expect(await said('devices', '--token', 'SECRET', 'reissue')).not.toContain('SECRET');
  });

  it('is the rule of a value that breaks it, as what to do', async () => {
    expect(await said('aws', 'policy', '--account', '12')).toMatch(
      /^cvm: → An AWS account has 12 digits; "cvm aws policy --help" says more\n {5}why: option .* is invalid\n$/,
    );
  });

  it('is one JSON object with --json, for a program', async () => {
    asJson = true;
    expect(JSON.parse(await said('devices', 'reissue'))).toEqual({
      error: "missing required argument 'serial'",
      cure: expect.stringContaining('cvm devices reissue SN-1'),
      status: 2,
    });
  });
});

describe('what is said of an error that ended a command', () => {
  const told = (error: unknown, asJson = false) => {
    const { status, ...failure } = describeFailure(error);
    return failureText(failure, status, asJson);
  };
  const denied = new UpstreamRefused('dynamodb:Scan', new Error('not you'), 'allow dynamodb:Scan');

  it('begins with what to do, and has the cause', () => {
    expect(told(denied)).toBe('cvm: → allow dynamodb:Scan\n     why: dynamodb:Scan: Error: not you');
    const full = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    expect(told(full)).toMatch(/^cvm: → the disk is full: free space.*\n {5}why: ENOSPC/);
    const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' });
    expect(told(new UpstreamUnreachable('dynamodb:Scan', refused))).toMatch(
      /^cvm: → look whether this machine reaches AWS.*\n {5}why: dynamodb:Scan: connect ECONNREFUSED/,
    );
    expect(told(new SettingsError(['CVM_MQTT_PORT: "y" is no number']))).toMatch(
      /^cvm: → correct this in the environment or in \.env.*\n {5}why: .*\n {2}- CVM_MQTT_PORT/,
    );
  });

  it('is the cause alone where nobody knows what to do', () => {
    expect(told(new Error('the sky fell'))).toBe('cvm: the sky fell');
  });

  it('is one JSON object with --json', () => {
    expect(JSON.parse(told(denied, true))).toEqual({
      error: 'dynamodb:Scan: Error: not you',
      cure: 'allow dynamodb:Scan',
      status: 1,
    });
  });

  it('steers no terminal, whoever chose the name in it', () => {
    const text = told(new Error('no file \u001b]0;owned\u0007 \u009b31m'));
    for (const control of ['\u0007', '\u001b', '\u009b']) expect(text).not.toContain(control);
  });
});
