import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { redisOf } from '../../app/redis.ts';
import { removeEmpty } from '../../runtime/empty-variables.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import type { SettingsError } from '../../runtime/settings-error.ts';
import { composeNames } from '../../runtime/settings-schema.ts';

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    loadSettings(env);
    return [];
  } catch (error) {
    return (error as SettingsError).problems;
  }
};

describe('settings', () => {
  it('have defaults for everything', () => {
    expect(loadSettings({})).toMatchObject({
      mqttPort: 8883,
      table: 'cvm-devices',
      policyName: 'cvm-device',
      replayWindowMs: 86_400_000,
      logLevel: 'info',
    });
  });

  it('let other machines read metrics and health with a token only', () => {
    const open = { CVM_METRICS_LISTEN: '0.0.0.0' };
    expect(problemsOf(open)).toEqual([expect.stringMatching(/^CVM_METRICS_TOKEN_FILE: is needed where .* 0\.0\.0\.0/)]);
    expect(problemsOf({ ...open, CVM_METRICS_TOKEN_FILE: 'token' })).toEqual([]);
    expect(problemsOf({ ...open, CVM_BROKER_METRICS_PORT: 'off', CVM_WORKER_METRICS_PORT: 'off' })).toEqual([]);
    for (const address of ['127.0.0.1', '127.8.8.8', '::1', 'localhost'])
      expect(problemsOf({ CVM_METRICS_LISTEN: address })).toEqual([]);
    for (const address of ['127.evil.example', '::', '10.0.0.1', 'gateway'])
      expect(problemsOf({ CVM_METRICS_LISTEN: address })).toHaveLength(1);
  });

  it('have ports of metrics that are numbers or off, and know which were named', () => {
    expect(loadSettings({}).monitoring).toMatchObject({
      listen: '127.0.0.1',
      broker: { port: 9464, isDefault: true },
      worker: { port: 9465, isDefault: true },
    });
    expect(loadSettings({ CVM_WORKER_METRICS_PORT: 'off' }).monitoring.worker).toEqual({
      port: 'off',
      isDefault: false,
    });
    expect(problemsOf({ CVM_BROKER_METRICS_PORT: '70000' })).toHaveLength(1);
  });

  it('have no traces where the standard variable switches OpenTelemetry off', () => {
    expect(loadSettings({}).traces).toBe(false);
    expect(loadSettings({ CVM_TRACES: '1' }).traces).toBe(true);
    expect(loadSettings({ CVM_TRACES: '1', OTEL_SDK_DISABLED: 'true' }).traces).toBe(false);
  });

  it('report all problems at once, each with its name', () => {
    const problems = problemsOf({
      CVM_MQTT_PORT: '70000',
      CVM_REPLAY_WINDOW: '1 fortnight',
      LOG_LEVEL: 'loud',
      REDIS_URL: 'localhost',
      CVM_TABEL: 'x',
      CVM_TLS_CERT: 'a.pem',
    });
    expect(problems).toHaveLength(6);
    for (const name of ['CVM_MQTT_PORT', 'CVM_REPLAY_WINDOW', 'LOG_LEVEL', 'REDIS_URL', 'CVM_TABEL', 'CVM_TLS_KEY'])
      expect(problems.join('\n')).toContain(name);
  });

  it('take the password of Redis from a file, where REDIS_URL has none, and name a file that has no password', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-password-'));
    const file = join(folder, 'password');
    const urlOf = (url: string) => {
      const redis = redisOf(loadSettings({ REDIS_URL: url, CVM_REDIS_PASSWORD_FILE: file })).connect('wait', log);
      redis.disconnect();
      return redis.options.password;
    };
    const log = createLog('silent');
    expect(() => urlOf('redis://127.0.0.1:1/0')).toThrow(/CVM_REDIS_PASSWORD_FILE: .*ENOENT/);
    writeFileSync(file, '\n');
    expect(() => urlOf('redis://127.0.0.1:1/0')).toThrow(/CVM_REDIS_PASSWORD_FILE: .*is empty/);
    writeFileSync(file, 'p@ss/w%41rd:\n');
    expect(urlOf('redis://127.0.0.1:1/0')).toBe('p@ss/w%41rd:');
    expect(urlOf('redis://:own@127.0.0.1:1/0')).toBe('own');
    rmSync(folder, { recursive: true });
  });

  it.each(['p#ss', 'p/ss', 'p?ss', 'p%ss', '1234#ss', '12/ss', 'a#b@c'])(
    'name a raw character of a password in REDIS_URL, and do not print it: %s',
    (password) => {
      for (const url of [`redis://:${password}@127.0.0.1:1/0`, `redis://cvm:${password}@redis`]) {
        const problems = problemsOf({ REDIS_URL: url }).join();
        expect(problems).toMatch(/^REDIS_URL: .*%23.*CVM_REDIS_PASSWORD_FILE/);
        expect(problems).not.toContain(password);
      }
    },
  );

  it('take a raw @ of a password in REDIS_URL, which has one meaning only, and the encoded characters', () => {
    const passwordOf = (url: string) => {
      const redis = redisOf(loadSettings({ REDIS_URL: url })).connect('wait', createLog('silent'));
      redis.disconnect();
      return redis.options.password;
    };
    expect(passwordOf('redis://:p@ss@127.0.0.1:1/0')).toBe('p@ss');
    expect(passwordOf('redis://:p%23%2F%3F%25%40@127.0.0.1:1/0')).toBe('p#/?%@');
    expect(problemsOf({ REDIS_URL: 'redis://127.0.0.1:port/0' }).join()).toMatch(/is not a URL/);
    expect(problemsOf({ REDIS_URL: 'redis://127.0.0.1:1/cvm' }).join()).toMatch(/number of a database/);
  });

  it('take an empty variable for none, as compose files leave them', () => {
    expect(loadSettings({ CVM_MQTT_PORT: '', REDIS_URL: ' ' })).toMatchObject({ mqttPort: 8883, redisUrl: undefined });
  });

  it('lose their empty variables in the environment, which the AWS SDK reads by itself', () => {
    const env = { AWS_REGION: '', AWS_PROFILE: ' ', AWS_ACCESS_KEY_ID: 'a', PATH: '/bin' };
    removeEmpty(env);
    expect(env).toEqual({ AWS_ACCESS_KEY_ID: 'a', PATH: '/bin' });
  });

  it('refuse half a pair of AWS credentials, which the AWS SDK would pass over', () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'])
      expect(problemsOf({ [name]: 'x' })).toEqual([expect.stringMatching(/SECRET_ACCESS_KEY: give both or neither/)]);
  });

  it('know the names that only compose reads, since both read one .env', () => {
    for (const name of composeNames) expect(problemsOf({ [name]: 'x' }), name).toEqual([]);
  });

  it.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['1.5h', 5_400_000],
    ['7d', 604_800_000],
  ])('read %s as a duration', (text, ms) => expect(loadSettings({ CVM_REPLAY_WINDOW: text }).replayWindowMs).toBe(ms));

  // a timer of Node.js that is to last longer than 24.8 days ends at once
  it.each(['0s', '59s', '25d', '30d'])('refuse a sweep interval of %s, and say what is allowed', (text) => {
    expect(problemsOf({ CVM_SWEEP_INTERVAL: text })).toEqual([expect.stringMatching(/SWEEP_INTERVAL.*from 1m to 20d/)]);
  });

  it('name balancers by address or network, and no network of all addresses', () => {
    const { proxyFrom } = loadSettings({ CVM_PROXY_FROM: '10.0.0.7, 10.1.0.0/24 fd00::/64,::1' });
    expect(proxyFrom).toEqual(['10.0.0.7', '10.1.0.0/24', 'fd00::/64', '::1']);
    const wrong = [
      'balancer',
      '10.0.0.0/33',
      '0.0.0.0/0',
      '::/0',
      '10.0.0/24',
      '10.0.0.0/',
      'fd00::/129',
      '10.0.0.1/8/9',
    ];
    for (const entry of wrong) expect(() => loadSettings({ CVM_PROXY_FROM: entry }), entry).toThrow(/CVM_PROXY_FROM/);
    for (const entry of ['0.0.0.0/0', '::/0'])
      expect(() => loadSettings({ CVM_PROXY_FROM: entry }), entry).toThrow(/network of all addresses/);
  });

  it('split lists at commas and spaces', () => {
    expect(loadSettings({ CVM_HOSTNAMES: 'a.example, b.example 10.0.0.1' }).hostnames).toEqual([
      'a.example',
      'b.example',
      '10.0.0.1',
    ]);
  });
});
