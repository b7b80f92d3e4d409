import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { lacks } from '../support/lacks.ts';
import { isolated, runCvm } from '../support/program.ts';
import { sampled } from '../support/size.ts';

const root = mkdtempSync(join(tmpdir(), 'cvm-faults-'));
const good = join(root, 'good');
const file = join(root, 'a-file');
const badKey = join(root, 'bad-key');
const emptyCertificate = join(root, 'empty-certificate');
const aws = {
  AWS_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'x',
  AWS_SECRET_ACCESS_KEY: 'x',
  AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
};
const redis = { REDIS_URL: 'redis://127.0.0.1:1/0' };
const taken = createServer();
let port = '';

beforeAll(async () => {
  writeFileSync(file, '');
  for (const [dataDir, name, content] of [
    [good, '', ''],
    [badKey, 'server.key', '-----BEGIN PRIVATE KEY-----\nMIG'],
    [emptyCertificate, 'site-ca.crt', ''],
  ] as const) {
    await loadTlsMaterial({ dataDir, hostnames: [], machineName: 'gateway' });
    if (name !== '') writeFileSync(join(dataDir, 'tls', name), content);
  }
  mkdirSync(join(good, 'audit'));
  writeFileSync(join(good, 'audit', '2026-11.jsonl'), '');
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  port = String((taken.address() as AddressInfo).port);
});
afterAll(() => {
  taken.close();
  rmSync(root, { recursive: true, force: true });
});

/** What a person reads is lines, each with a cause or a cure, and no stack of the program. */
function isReadable(text: string): void {
  expect(text).not.toMatch(/^\s+at |node:internal|\[object Object\]|Node\.js v/m);
  for (const line of text.split('\n')) if (line.startsWith('cvm: ')) expect(line.length).toBeGreaterThan(12);
}

async function failureOf(argv: readonly string[], env: Record<string, string>, uid?: number) {
  const dist = join(import.meta.dirname, '../../dist/cli/cvm.js');
  const options = { env: { ...isolated(good), ...env }, ...(uid === undefined ? {} : { uid, gid: uid }) };
  return promisify(execFile)(process.execPath, [dist, ...argv], options).then(
    ({ stdout, stderr }) => ({ status: 0, text: `${stdout}${stderr}` }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      status: error.code,
      text: `${error.stdout}${error.stderr}`,
    }),
  );
}

describe('a command that cannot do its work ends with the cause and the cure', () => {
  const faults: readonly [string, readonly string[], () => Record<string, string>, number, RegExp][] = [
    [
      'up: a file as data folder',
      ['up', '--local-aws'],
      () => ({ CVM_DATA_DIR: file }),
      1,
      /→ a file stands there already: correct the path\n.*EEXIST/,
    ],
    [
      'broker: a file as data folder',
      ['broker'],
      () => ({ ...redis, CVM_DATA_DIR: file }),
      1,
      /folder is needed.*\n.*ENOTDIR/,
    ],
    [
      'worker: a file as data folder',
      ['worker'],
      () => ({ ...redis, ...aws, CVM_DATA_DIR: file }),
      2,
      /CVM_AUDIT_DIR.*ENOTDIR/,
    ],
    ['aws-local: a file as data folder', ['aws-local'], () => ({ CVM_DATA_DIR: file }), 1, /ENOTDIR/],
    ['tls show: no such folder', ['tls', 'show'], () => ({ CVM_DATA_DIR: join(root, 'none') }), 1, /first start/],
    [
      'tls renew: a damaged key',
      ['tls', 'renew'],
      () => ({ CVM_DATA_DIR: badKey }),
      1,
      /server.key is not a private key.*restore it/,
    ],
    [
      'broker: a damaged key',
      ['broker'],
      () => ({ ...redis, CVM_DATA_DIR: badKey }),
      1,
      /server.key is not a private key.*restore it/,
    ],
    [
      'broker: an empty CA certificate',
      ['broker'],
      () => ({ ...redis, CVM_DATA_DIR: emptyCertificate }),
      1,
      /site-ca.crt is not a certificate/,
    ],
    [
      'aws-local: a port that is taken',
      ['aws-local'],
      () => ({ CVM_AWS_LOCAL_HTTP_PORT: port }),
      1,
      /another port\n.*EADDRINUSE/,
    ],
    [
      'audit verify: no such folder',
      ['audit', 'verify', '--dir', join(root, 'none')],
      () => ({}),
      1,
      /there is no folder/,
    ],
    ['audit verify: a file', ['audit', 'verify', '--dir', file], () => ({}), 1, /ENOTDIR|no folder/],
    ['import: no such file', ['devices', 'import', join(root, 'none.csv')], () => aws, 1, /./],
    ['import: a folder', ['devices', 'import', root], () => aws, 1, /name the file in it.*\n.*is a folder/],
    ['list: AWS away', ['devices', 'list'], () => aws, 1, /ECONNREFUSED/],
    ['sweep: AWS away', ['sweep'], () => aws, 1, /ECONNREFUSED/],
    ['setup: AWS away', ['aws', 'setup'], () => aws, 1, /ECONNREFUSED/],
    ['sim: a folder as CA', ['sim', '--ca', root], () => ({}), 2, /EISDIR/],
    ['sim: a file that is no CA', ['sim', '--ca', file], () => ({}), 2, /no certificate in PEM/],
    [
      'worker: a folder as root CA',
      ['worker'],
      () => ({ ...redis, ...aws, CVM_ROOT_CA: root }),
      1,
      /CVM_ROOT_CA: .*EISDIR/,
    ],
    [
      'broker: a folder as password file',
      ['broker'],
      () => ({ ...redis, CVM_REDIS_PASSWORD_FILE: root }),
      2,
      /CVM_REDIS_PASSWORD_FILE: .*EISDIR/,
    ],
    [
      'broker: a raw character of a password',
      ['broker'],
      () => ({ REDIS_URL: 'redis://:p#secret@redis' }),
      2,
      /REDIS_URL: .*%23/,
    ],
    ['health: no such file', ['health', '--file', join(root, 'none')], () => ({}), 1, /does not exist/],
    [
      'health: a folder that is none',
      ['health', '--trouble', join(file, 'below')],
      () => ({}),
      1,
      /the folder does not exist/,
    ],
  ];
  it.each(sampled(faults))('%s', async (_what, argv, env, status, text) => {
    const outcome = await failureOf(argv, env());
    isReadable(outcome.text);
    expect(outcome.text).toMatch(text);
    expect(outcome.text).not.toContain('secret');
    expect(outcome.status).toBe(status);
  });

  const parts: readonly [string, readonly string[], Record<string, string>][] = [
    ['up', ['up', '--local-aws'], {}],
    ['broker', ['broker'], redis],
    ['worker', ['worker'], { ...redis, ...aws }],
    ['aws-local', ['aws-local'], {}],
    ['tls show', ['tls', 'show'], {}],
    ['tls renew', ['tls', 'renew'], {}],
    ['audit verify', ['audit', 'verify'], {}],
  ];
  it.skipIf(process.getuid?.() !== 0).each(sampled(parts))(
    '%s: the data folder belongs to another user',
    async (_what, argv, env) => {
      chmodSync(root, 0o755);
      const nobody = 65_534;
      const { status, text } = await failureOf(argv, env, nobody);
      isReadable(text);
      expect(text).toMatch(/EACCES|first start|no folder/);
      expect(status).toBeGreaterThan(0);
    },
  );

  it.skipIf(lacks('redis-server'))('up: a port for devices that is taken', async () => {
    const dataDir = join(root, 'up');
    const { status, text } = await failureOf(['up', '--local-aws'], { CVM_DATA_DIR: dataDir, CVM_MQTT_PORT: port });
    isReadable(text);
    expect([status, text]).toEqual([2, expect.stringMatching(/^ {2}- CVM_LISTEN, CVM_MQTT_PORT: .*EADDRINUSE/m)]);
  });
});

describe('a command whose output is not taken', () => {
  const printing = [
    ['--help'],
    ['aws', 'policy', '--region', 'eu-west-1'],
    ['tls', 'show'],
    ['health', '--file', file, '--max-age', '999999'],
  ].map((argv): [string, readonly string[]] => [argv.slice(0, 2).join(' '), argv]);
  const dist = join(import.meta.dirname, '../../dist/cli/cvm.js');
  const shell = (script: string, argv: readonly string[]) =>
    promisify(execFile)('bash', ['-c', script, process.execPath, dist, ...argv], { env: isolated(good) });

  it.each(printing)('ends well when its reader has enough: %s', async (_words, given) => {
    const { stderr } = await shell(`set -o pipefail; "$0" "$@" | true; echo "status $?" >&2`, given);
    expect(stderr).toBe('status 0\n');
  });

  it.each(printing)('fails with the cause when it cannot be written: %s', async (_words, given) => {
    const { stderr } = await shell('"$0" "$@" >/dev/full; echo "status $?" >&2', given);
    expect(stderr).toMatch(
      /^cvm: (→ .*free space.*\n {5}why: )?standard output cannot be written: ENOSPC.*\nstatus 1\n$/,
    );
  });

  it('is no reason for a service to stop, nor is a log that cannot be written', async () => {
    const { child, says, ended, text } = runCvm(['aws-local'], isolated(join(root, 'service')));
    await says(/the AWS stand-in is listening/);
    child.stderr?.destroy();
    child.stdout?.destroy();
    expect(text()).toContain('listening');
    child.kill('SIGTERM');
    expect(await ended).toEqual({ status: 0, signal: null });

    // it has noted where it is when it listens
    const note = join(root, 'unheard', 'aws-local', 'running.json');
    const script = `"$0" "$@" 2>/dev/full & P=$!; until [ -s ${note} ]; do sleep 0.1; done; kill -TERM $P; wait $P; echo "status $?"`;
    const env = isolated(join(root, 'unheard'));
    const { stdout } = await promisify(execFile)('bash', ['-c', script, process.execPath, dist, 'aws-local'], { env });
    expect(stdout).toBe('status 0\n');
  });
});
