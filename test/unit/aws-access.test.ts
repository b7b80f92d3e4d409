import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findAccess, unreadableProfileFiles } from '../../aws/access.ts';

const keys = { accessKeyId: 'a', secretAccessKey: 's' };
const never = () => new Promise<never>(() => {});
const fails = (name: string) => () => Promise.reject(Object.assign(new Error('the reason'), { name }));
const soon = { waitMs: 50, named: false };

describe('looking for an AWS account', () => {
  it('finds region, credentials and the endpoints that calls go to', async () => {
    expect(await findAccess({ region: 'eu-west-1', credentials: keys }, soon)).toMatchObject({
      region: 'eu-west-1',
      accessKeyId: 'a',
      endpoints: { iot: 'https://iot.eu-west-1.amazonaws.com', dynamoDb: 'https://dynamodb.eu-west-1.amazonaws.com' },
      missing: [],
    });
  });

  it('finds the account where the source of the credentials names it', async () => {
    const credentials = { ...keys, accountId: '123456789012' };
    expect(await findAccess({ region: 'cn-north-1', credentials }, soon)).toMatchObject({
      account: '123456789012',
      endpoints: { iot: 'https://iot.cn-north-1.amazonaws.com.cn' },
    });
  });

  it('finds the endpoint of a stand-in, without a call to it', async () => {
    const options = { region: 'us-east-1', endpoint: 'http://127.0.0.1:1', credentials: keys };
    const endpoint = 'http://127.0.0.1:1';
    expect(await findAccess(options, soon)).toMatchObject({ endpoints: { iot: endpoint, dynamoDb: endpoint } });
  });

  it('reports a missing region and missing credentials together, each with its cure', async () => {
    const region = fails('Error');
    const { missing } = await findAccess({ region, credentials: fails('CredentialsProviderError') }, soon);
    expect(missing).toHaveLength(2);
    expect(missing[0]).toMatch(/set AWS_REGION.*cvm up --local-aws/);
    expect(missing[1]).toMatch(/the reason.*AWS_PROFILE.*cvm up --local-aws/);
  });

  it('takes credentials that do not come in time for missing, unless the environment names their source', async () => {
    const options = { region: 'eu-west-1', credentials: never };
    expect((await findAccess(options, soon)).missing).toHaveLength(1);
    expect(await findAccess(options, { ...soon, named: true })).toMatchObject({ missing: [], away: expect.any(Error) });
  });

  it('names a file of profiles that cannot be read, which the SDK takes for one that is not there', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-profiles-'));
    writeFileSync(join(folder, 'config'), '');
    expect(unreadableProfileFiles(folder)).toEqual([]);
    // also for root, whom permissions do not stop
    symlinkSync('credentials', join(folder, 'credentials'));
    expect(unreadableProfileFiles(folder)).toEqual([
      expect.stringMatching(/credentials cannot be read by this user .uid/),
    ]);
    rmSync(folder, { recursive: true });
  });

  it('does not take credentials for missing whose service cannot be reached now', async () => {
    const options = { region: 'eu-west-1', credentials: fails('TimeoutError') };
    expect(await findAccess(options, soon)).toMatchObject({ missing: [], away: { name: 'TimeoutError' } });
  });
});
