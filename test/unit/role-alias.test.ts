import { describe, expect, it } from 'vitest';
import { createApp } from '../../app/app.ts';
import { twoCredentials } from '../../app/which-aws.ts';
import { findAccess } from '../../aws/access.ts';
import { createAwsGate } from '../../aws/gate.ts';
import { createRoleAliasCredentials, RoleAliasError, type TemporaryCredentials } from '../../aws/role-alias.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';

const source = { name: 'workers', certFile: '/c', keyFile: '/k' };
const minute = 60_000;

/** A provider on a clock that the test sets; each fetch is answered by the test. */
function open() {
  let [at, number] = [0, 0];
  const asked: { resolve(lifeMs: number): void; reject(error: Error): void }[] = [];
  const late: unknown[] = [];
  const credentials = createRoleAliasCredentials(source, {
    now: () => at,
    elapsed: () => at,
    onLate: (error) => late.push(error),
    fetch: () =>
      new Promise<TemporaryCredentials>((resolve, reject) => {
        const accessKeyId = `K${++number}`;
        asked.push({
          resolve: (lifeMs) =>
            resolve({ accessKeyId, secretAccessKey: 's', sessionToken: 't', expiration: new Date(at + lifeMs) }),
          reject,
        });
      }),
  });
  const key = async () => (await credentials()).accessKeyId;
  const wait = (ms: number): void => {
    at += ms;
  };
  return { credentials, key, asked, late, wait };
}

describe('credentials by a role alias', () => {
  it('are fetched once for all calls that wait, and kept', async () => {
    const { key, asked } = open();
    const calls = [key(), key(), key()];
    asked[0]?.resolve(60 * minute);
    expect(await Promise.all(calls)).toEqual(['K1', 'K1', 'K1']);
    expect(await key()).toBe('K1');
    expect(asked).toHaveLength(1);
  });

  it('are renewed before their end, once, while calls go on with the old ones', async () => {
    const { key, asked, wait } = open();
    const first = key();
    asked[0]?.resolve(60 * minute);
    await first;
    wait(51 * minute);
    expect(await Promise.all([key(), key()])).toEqual(['K1', 'K1']);
    expect(asked).toHaveLength(2);
    asked[1]?.resolve(60 * minute);
    await new Promise(setImmediate);
    expect(await key()).toBe('K2');
  });

  it('last until their end where a renewal fails, and the failure is told; a further one is tried after a pause, and not by each call', async () => {
    const { key, asked, late, wait } = open();
    const first = key();
    asked[0]?.resolve(60 * minute);
    await first;
    wait(59.5 * minute);
    const second = key();
    asked[1]?.reject(new Error('away'));
    expect(await second).toBe('K1');
    expect(await key()).toBe('K1');
    expect(asked).toHaveLength(2);
    expect(late).toHaveLength(1);
    wait(3000);
    const third = key();
    expect(asked).toHaveLength(3);
    asked[2]?.resolve(60 * minute);
    expect(await third).toBe('K3');
  });

  it('are an error after their end, until a renewal succeeds', async () => {
    const { key, asked, wait } = open();
    const first = key();
    asked[0]?.resolve(15 * minute);
    await first;
    wait(16 * minute);
    const second = key();
    asked[1]?.reject(new Error('away'));
    await expect(second).rejects.toThrow('away');
    await expect(key()).rejects.toThrow('away');
    wait(3000);
    const third = key();
    asked[2]?.resolve(15 * minute);
    expect(await third).toBe('K3');
  });
});

describe('a role alias that gives no credentials', () => {
  const away = new RoleAliasError('the network is away', 'mend it', { lasts: false });
  const refused = new RoleAliasError('Access Denied', 'allow iot:AssumeRoleWithCertificate', { lasts: true });

  it('refuses calls with its own cure after a while, and only where a person must act', async () => {
    let at = 0;
    const gate = createAwsGate({ table: 't', region: async () => 'eu-west-1', elapsed: () => at });
    const outcomes = async (error: Error) => {
      at = 0;
      const call = () => gate.call('dynamodb:GetItem', () => Promise.reject(error)).catch((caught: Error) => caught);
      const first = await call();
      at = 61_000;
      return [first, await call()];
    };
    expect(await outcomes(away)).toMatchObject([{ name: 'UpstreamUnreachable' }, { name: 'UpstreamUnreachable' }]);
    expect(await outcomes(refused)).toMatchObject([
      { name: 'UpstreamUnreachable' },
      { name: 'UpstreamRefused', cure: expect.stringMatching(/allow iot:AssumeRoleWithCertificate/) },
    ]);
  });

  it('is a mistake of the configuration at start where a person must act, and an outage where not', async () => {
    const look = (error: Error) =>
      findAccess({ region: 'eu-west-1', credentials: () => Promise.reject(error) }, { waitMs: 1000, named: true });
    expect(await look(away)).toMatchObject({ missing: [], away });
    const { missing } = await look(refused);
    expect(missing).toEqual([expect.stringMatching(/Access Denied.*allow iot:AssumeRoleWithCertificate/)]);
  });
});

describe('which credentials a process uses', () => {
  const settingsOf = (env: Record<string, string>) => loadSettings({ LOG_LEVEL: 'silent', ...env });
  const byAlias = (env: Record<string, string>) =>
    createApp(settingsOf(env), createLog('silent')).awsCredentials !== undefined;

  it("are those of the SDK's own chain, unless a role alias is named; a profile or keys of one command come first", () => {
    expect(byAlias({})).toBe(false);
    expect(byAlias({ CVM_ROLE_ALIAS: 'workers' })).toBe(true);
    expect(byAlias({ CVM_ROLE_ALIAS: 'workers', AWS_PROFILE: 'me' })).toBe(false);
    expect(byAlias({ CVM_ROLE_ALIAS: 'workers', AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 's' })).toBe(false);
  });

  it('may not be named twice for a service', () => {
    expect(twoCredentials(settingsOf({ CVM_ROLE_ALIAS: 'workers' }))).toEqual([]);
    expect(twoCredentials(settingsOf({ CVM_ROLE_ALIAS: 'workers', AWS_PROFILE: 'me' }))).toEqual([
      expect.stringMatching(/^CVM_ROLE_ALIAS, AWS_PROFILE: both name credentials/),
    ]);
  });
});
