import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { awsCommand } from '../../cli/aws.ts';
import { loadSettings } from '../../runtime/settings.ts';

describe('cvm aws policy', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-policy-'));
    const profiles = ['eu-west-1', 'cn-north-1', 'us-gov-west-1'].map(
      (region) => `[profile ${region}]\nregion = ${region}\n`,
    );
    writeFileSync(join(folder, 'config'), `${profiles.join('\n')}\n[profile nowhere]\noutput = json\n`);
    vi.stubEnv('AWS_CONFIG_FILE', join(folder, 'config'));
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(folder, 'none'));
    vi.stubEnv('AWS_REGION', undefined);
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    rmSync(folder, { recursive: true });
  });

  /** The ARN of the table in the policy that the command prints. */
  async function printed(env: Record<string, string>, ...options: string[]): Promise<string> {
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    const lines: string[] = [];
    const unused = () => Promise.reject(new Error('this command needs no more'));
    const context = {
      settings: async () => loadSettings(env),
      write: (line: string) => void lines.push(line),
      clock: async () => () => 0,
    };
    const command = awsCommand({ ...context, app: unused as never, table: unused as never });
    await command.parseAsync(['node', 'aws', 'policy', '--for', 'operator', ...options]);
    const { Statement } = JSON.parse(lines.join('\n')) as { Statement: { Sid: string; Resource: string[] }[] };
    return Statement.find(({ Sid }) => Sid === 'Table')?.Resource[0] ?? '';
  }

  it.each([
    ['eu-west-1', 'aws'],
    ['cn-north-1', 'aws-cn'],
    ['us-gov-west-1', 'aws-us-gov'],
  ])('takes the region %s, and with it the partition %s, from the AWS profile in use', async (region, partition) => {
    expect(await printed({ AWS_PROFILE: region })).toBe(`arn:${partition}:dynamodb:${region}:*:table/cvm-devices`);
  });

  it('takes the region of AWS_REGION before that of the profile, and that of --region before both', async () => {
    const env = { AWS_PROFILE: 'eu-west-1', AWS_REGION: 'cn-northwest-1' };
    expect(await printed(env)).toMatch(/^arn:aws-cn:dynamodb:cn-northwest-1:/);
    expect(await printed(env, '--region', 'us-east-2')).toMatch(/^arn:aws:dynamodb:us-east-2:/);
  });

  it.each([
    ['--region', 'eu-west1', /spelled like eu-west-1/],
    ['--from-table', 'my devices', /3 to 255 of the characters/],
  ])('refuses a mistyped %s, for which the policy would allow nothing', async (option, value, rule) => {
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      throw new Error(String(text));
    });
    await expect(printed({}, option, value)).rejects.toThrow(rule);
  });

  it('says that no region is set, and prints a policy for every region', async () => {
    expect(await printed({ AWS_PROFILE: 'nowhere' })).toBe('arn:aws:dynamodb:*:*:table/cvm-devices');
    expect(console.error).toHaveBeenCalledWith(expect.stringContaining('--region'));
  });
});
