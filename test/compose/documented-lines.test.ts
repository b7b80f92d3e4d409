import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { composeStack, eventually, findCompose, image } from './compose.ts';
import { freshClone, shellBlocks } from './fresh-clone.ts';

const compose = findCompose();
const project = `cvmlines${process.pid}`;
const env = {
  COMPOSE_PROJECT_NAME: project,
  CVM_IMAGE: image,
  CVM_REDIS_IMAGE: process.env.TEST_REDIS_IMAGE ?? '',
  CVM_MQTT_PORT: '28921',
  CVM_CONSOLE_PORT: '28448',
  CVM_AWS_LOCAL_HTTP_PORT: '24606',
  CVM_AWS_LOCAL_MQTT_PORT: '28922',
};

/** The one block of a page that has such a line. */
function block(page: string, line: RegExp): string[] {
  const found = shellBlocks(page).filter((lines) => lines.some((each) => line.test(each)));
  if (found.length !== 1) throw new Error(`${page} has ${found.length} blocks with ${line}`);
  return found[0] ?? [];
}

/** In the order in which an operator comes to them. Nothing between two lines but what the page says. */
describe.skipIf(compose === undefined)('the compose lines of the pages, typed in a fresh clone', () => {
  let clone: ReturnType<typeof freshClone>;
  const stack = (profile: 'aws' | 'local-aws') => composeStack(compose ?? [], { project, profile, env });
  beforeAll(() => {
    clone = freshClone(compose ?? [], env);
  });
  afterAll(async () => {
    for (const profile of ['aws', 'local-aws'] as const) await stack(profile).down();
    clone?.remove();
  });
  const write = (name: string, text: string) => writeFileSync(join(clone.folder, name), text);

  it('README.md, to try it: twenty devices have certificates, and nothing is left afterwards', async () => {
    const lines = block('README.md', /COMPOSE_PROFILES=local-aws/);
    const screen = await clone.type(lines);
    expect(screen).toMatch(/SN-1\s+\S{20,}/);
    expect(screen).toMatch(/\b20\b.*accepted|accepted.*\b20\b/);
    expect(readFileSync(join(clone.folder, 'site-ca.crt'), 'utf8')).toMatch(/^-----BEGIN CERTIFICATE-----/);
    const left = await stack('local-aws').docker('volume', 'ls', '-q', '--filter', `name=${project}_`);
    expect(left).toBe('');
  });

  it('README.md, for an AWS account: a device that is enrolled by these lines gets its certificate', async () => {
    // in place of an account: its profile names the stand-in as endpoint
    await stack('local-aws').call('up', '-d', 'aws-local');
    const home = join(clone.folder, 'account');
    mkdirSync(home);
    write('account/config', '[profile site]\nregion = us-east-1\nendpoint_url = http://aws-local:4566\n');
    write('account/credentials', '[site]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = s\n');
    for (const name of ['', 'config', 'credentials']) chmodSync(join(home, name), name === '' ? 0o755 : 0o644);
    const lines = block('README.md', /cp \.env\.example \.env/);
    const filled = `sed -i 's|^#AWS_PROFILE=.*|AWS_PROFILE=site|; s|^#CVM_AWS_FOLDER=.*|CVM_AWS_FOLDER=./account|' .env`;
    const at = lines.findIndex((line) => line.startsWith('cp '));
    const screen = await clone.type([...lines.slice(0, at + 1), filled, ...lines.slice(at + 1)]);
    expect(screen).toContain('table cvm-devices: created');
    const token = /SN-1\s+(\S{20,})/.exec(screen)?.[1] ?? '';
    const caPem = await eventually('the site CA', () => stack('aws').call('exec', '-T', 'broker', 'cvm', 'tls', 'ca'));
    const reply = await eventually('a certificate', () =>
      askOnce({ port: Number(env.CVM_MQTT_PORT), caPem }, 'SN-1', { token, key: 'ec' }),
    );
    expect(reply).toMatchObject({ status: 'accepted', thingName: 'SN-1' });
  });

  it('README.md: enrols devices of a file of the host, and leaves their tokens beside it', async () => {
    write('lists/devices.csv', 'serial\nPUMP-1\nPUMP-2\n');
    chmodSync(join(clone.folder, 'lists'), 0o777);
    await clone.type(block('README.md', /devices import \/lists/));
    const tokens = join(clone.folder, 'lists/devices.csv.tokens.csv');
    expect(readFileSync(tokens, 'utf8')).toMatch(/PUMP-1,\S{20,}/);
    expect(statSync(tokens).mode & 0o077).toBe(0);
  });

  it('docs/restoring.md: makes a backup of the site, which restores every volume of the gateway that is lost', async () => {
    const [ask = '', backup = '', check = '', restore = ''] = block('docs/restoring.md', /broker backup - >/);
    const caOf = () => eventually('the CA', () => stack('aws').call('exec', '-T', 'broker', 'cvm', 'tls', 'ca'));
    const before = await caOf();
    const [line = ''] = (await stack('aws').cvm('devices', 'add', 'survivor', '--json')).trim().split('\n');
    const { token } = JSON.parse(line) as { token: string };
    const provision = (caPem: string) =>
      eventually('a certificate', () =>
        askOnce({ port: Number(env.CVM_MQTT_PORT), caPem }, 'survivor', { token, key: 'ec' }),
      );
    const first = await provision(before);
    const typed = [[/Passphrase: /, 'five words at random here']] as const;
    await clone.type([ask, backup, check], typed);
    expect(existsSync(join(clone.folder, 'site.cvm'))).toBe(true);

    // the table is in AWS, and stays: here in the volume of the stand-in
    await clone.type(['docker compose down']);
    for (const volume of ['redis', 'redis-password', 'metrics-token', 'audit', 'broker'])
      await stack('aws').docker('volume', 'rm', `${project}_${volume}`);
    await stack('local-aws').call('up', '-d', 'aws-local');
    await clone.type([ask, restore, 'docker compose up --detach'], typed);
    expect(await caOf()).toBe(before);
    const again = await provision(before);
    expect(again).toMatchObject({ certificateId: first.certificateId, privateKey: first.privateKey });
  });

  it('docs/restoring.md: asks for the passphrase at the terminal, twice, and shows nothing of it', async () => {
    const lines = block('docs/restoring.md', /broker backup \/backup/);
    chmodSync(clone.folder, 0o777);
    const passphrase = 'six other words at random here';
    const screen = await clone.type(lines, [
      [/Passphrase of the backup: /, passphrase],
      [/The same again: /, passphrase],
    ]);
    expect(screen).toContain('sealed');
    expect(screen).not.toContain('words');
    const file = join(clone.folder, 'site-2.cvm');
    expect(readFileSync(file, 'latin1')).toMatch(/^cvm-backup /);
    expect(statSync(file).mode & 0o077).toBe(0);
    await expect(
      clone.type(lines, [
        [/Passphrase of the backup: /, passphrase],
        [/The same again: /, 'another one of some words'],
      ]),
    ).rejects.toThrow(/the two passphrases differ/);
  });

  it('refuses to write a backup to the screen', async () => {
    await expect(clone.type(['docker compose run --rm --no-deps broker backup -'])).rejects.toThrow(
      /would go to the screen.*-T/,
    );
  });

  // .env.example says so: a password is not cut off at a $ or a #
  it('.env: a value in single quotes reaches the parts as it stands', async () => {
    const odd = 'a$b#c "d" $$e `f';
    write('.env', `COMPOSE_PROFILES=aws\nAWS_REGION=us-east-1\nAWS_SECRET_ACCESS_KEY='${odd}'\n`);
    const show = `'printf "<%s>" "$AWS_SECRET_ACCESS_KEY"'`;
    const screen = await clone.type([`docker compose run --rm --no-deps -T --entrypoint sh worker -c ${show}`]);
    expect(screen).toContain(`<${odd}>`);
  });
});
