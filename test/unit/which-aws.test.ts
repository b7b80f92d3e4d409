import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  absentProfile,
  awsInUse,
  cluesOf,
  mixedAws,
  namedAws,
  refuseMixedAws,
  sentenceOf,
} from '../../app/which-aws.ts';
import { isAwsEndpoint } from '../../aws/domains.ts';
import { amazonRootCa } from '../../issuer/root-ca.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { SettingsError } from '../../runtime/settings-error.ts';
import { X509CertificateGenerator } from '../../runtime/x509.ts';

const folder = mkdtempSync(join(tmpdir(), 'cvm-which-aws-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const [amazon, standIn] = [join(folder, 'amazon.pem'), join(folder, 'stand-in.pem')];
writeFileSync(amazon, amazonRootCa());
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const webKey = async (key: typeof privateKey, use: 'sign' | 'verify') =>
  crypto.subtle.importKey('jwk', key.export({ format: 'jwk' }), { name: 'ECDSA', namedCurve: 'P-256' }, true, [use]);
const root = await X509CertificateGenerator.createSelfSigned({
  name: 'O=Amazon, CN=Amazon Root CA 1',
  keys: { privateKey: await webKey(privateKey, 'sign'), publicKey: await webKey(publicKey, 'verify') },
  signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
});
writeFileSync(standIn, root.toString('pem'));

const local = 'http://aws-local:4566';
const account = { AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE', AWS_SECRET_ACCESS_KEY: 's' };
const problemsOf = (env: Record<string, string>) => mixedAws(cluesOf(loadSettings(env)));

describe('a profile', () => {
  const [config, keys] = [join(folder, 'config'), join(folder, 'credentials')];
  const settings = (profile: string, files: Record<string, string> = {}) =>
    loadSettings({ AWS_PROFILE: profile, AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: keys, ...files });
  writeFileSync(config, '[default]\nregion = eu-west-1\n[profile plant]\n [profile "two words"]\n[profile a]b]\n');
  writeFileSync(keys, '[ keys ]\naws_access_key_id = x\n');

  it.each(['plant', 'two words', 'keys', 'default'])(
    'that is in one of the files is none to complain of: %s',
    (name) => {
      expect(absentProfile(settings(name))).toEqual([]);
    },
  );

  it('that is in no file is named, with the files', () => {
    expect(absentProfile(settings('plnat'))).toEqual([
      expect.stringMatching(`^AWS_PROFILE: there is no profile "plnat" in ${config} or ${keys}: `),
    ]);
    expect(() => refuseMixedAws(settings('plnat'))).toThrow(/no profile "plnat"/);
    expect(absentProfile(settings('plnat', { AWS_CONFIG_FILE: join(folder, 'not-there') }))).toHaveLength(1);
  });

  it('may be in a file that cannot be read', () => {
    expect(absentProfile(settings('plnat', { AWS_CONFIG_FILE: folder }))).toEqual([]);
  });
});

describe('settings of an AWS account and of a stand-in, mixed', () => {
  it.each([
    ['an account', { ...account, AWS_REGION: 'eu-west-1' }],
    ['a profile or a role', { AWS_PROFILE: 'site' }],
    ['an account with a root CA of Amazon', { ...account, CVM_ROOT_CA: amazon }],
    ['VPC endpoints', { AWS_ENDPOINT_URL_DYNAMODB: 'https://vpce-1-a.dynamodb.eu-west-1.vpce.amazonaws.com' }],
    ['an endpoint in China', { AWS_ENDPOINT_URL_IOT: 'https://iot.cn-north-1.amazonaws.com.cn' }],
    [
      'a stand-in',
      {
        AWS_ACCESS_KEY_ID: 'local',
        AWS_SECRET_ACCESS_KEY: 'local',
        AWS_ENDPOINT_URL_IOT: local,
        AWS_ENDPOINT_URL_DYNAMODB: local,
        CVM_ROOT_CA: standIn,
      },
    ],
    ['a stand-in by one variable', { AWS_ENDPOINT_URL: local, CVM_ROOT_CA: standIn }],
  ])('are not: %s', (_what, env) => expect(problemsOf(env)).toEqual([]));

  it.each([
    [
      'IoT Core at a stand-in, DynamoDB at AWS',
      { AWS_ENDPOINT_URL_IOT: local },
      /IoT Core is called at http:..aws-local/,
    ],
    ['DynamoDB at a stand-in, IoT Core at AWS', { AWS_ENDPOINT_URL_DYNAMODB: local }, /DynamoDB at http:..aws-local/],
    [
      'one endpoint of AWS, and the other of a host that only looks like it',
      { AWS_ENDPOINT_URL_IOT: 'https://amazonaws.com.example', AWS_ENDPOINT_URL_DYNAMODB: 'https://a.amazonaws.com' },
      /only one of them is AWS/,
    ],
    [
      "a stand-in's credentials, and AWS",
      { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
      /^AWS_ACCESS_KEY_ID: "local" is no access key id of AWS/,
    ],
    ["a stand-in's root CA, and AWS", { CVM_ROOT_CA: standIn }, /^CVM_ROOT_CA: .*stand-in.pem is no root CA of Amazon/],
    ['a profile and an access key', { ...account, AWS_PROFILE: 'site' }, /^AWS_PROFILE, AWS_ACCESS_KEY_ID: both/],
  ])('are refused, each with a cure: %s', (_what, env, text) => {
    expect(problemsOf(env)).toEqual([expect.stringMatching(text)]);
    expect(problemsOf(env)[0]).toMatch(/unset/);
  });

  it('are refused all at once', () => {
    const everything = {
      AWS_ENDPOINT_URL_DYNAMODB: local,
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
      AWS_PROFILE: 'site',
      CVM_ROOT_CA: standIn,
    };
    expect(problemsOf(everything)).toHaveLength(4);
    expect(() => refuseMixedAws(loadSettings(everything))).toThrow(SettingsError);
  });
});

describe('which AWS is used', () => {
  it('is told from the settings, for a command that does not wait for the credentials', () => {
    expect(namedAws(loadSettings({}))).toEqual({
      account: 'as the credentials say',
      region: 'as the AWS profile says',
      iot: "AWS's own",
      dynamoDb: "AWS's own",
    });
    expect(namedAws(loadSettings({ AWS_ENDPOINT_URL: local, AWS_REGION: 'us-east-1' }))).toMatchObject({
      account: 'none, a stand-in',
      iot: local,
    });
  });

  it('is one sentence with the account, the region and both endpoints', () => {
    const endpoints = { iot: 'https://iot.eu-west-1.amazonaws.com', dynamoDb: 'https://1.ddb.eu-west-1.amazonaws.com' };
    const sentence = sentenceOf(awsInUse('123456789012', 'eu-west-1', endpoints));
    for (const part of ['123456789012', 'eu-west-1', endpoints.iot, endpoints.dynamoDb])
      expect(sentence).toContain(part);
  });

  it.each([
    'https://iot.eu-west-1.amazonaws.com',
    'https://iot.eu-west-1.api.aws',
    'https://x.iot.cn-north-1.amazonaws.com.cn',
  ])('is AWS at %s', (url) => expect(isAwsEndpoint(url)).toBe(true));
  it.each(['http://aws-local:4566', 'https://amazonaws.com.evil.example', 'https://notamazonaws.com', 'none'])(
    'is not AWS at %s',
    (url) => expect(isAwsEndpoint(url)).toBe(false),
  );
});
