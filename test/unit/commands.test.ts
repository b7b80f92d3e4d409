import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commands } from '../../cli/commands.ts';
import { openContext } from '../../cli/context.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** The packages whose code a run of `cvm` has loaded. */
function packagesLoadedBy(...argv: string[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-loaded-'));
  spawnSync(process.execPath, [cvm, ...argv], { cwd: folder, env: environment(folder) });
  return packagesIn(folder);
}

/** The same of a service, which is ended when its log has `until`. */
async function packagesLoadedByService(
  until: string,
  argv: readonly string[],
  settings: Record<string, string>,
): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-loaded-'));
  const env = { ...environment(folder), ...settings };
  const service = spawn(process.execPath, [cvm, ...argv], { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(service, 'exit');
  let log = '';
  service.stderr.setEncoding('utf8').on('data', (text: string) => {
    const isNews = !log.includes(until);
    log += text;
    // once: a second signal ends a service without more ado, and then it writes no coverage
    if (isNews && log.includes(until)) service.kill();
  });
  await ended;
  expect(log).toContain(until);
  return packagesIn(folder);
}

/** V8's coverage, written when the process ends, names every file. No setting of this machine decides what is loaded. */
const environment = (folder: string) => ({
  PATH: process.env.PATH,
  HOME: folder,
  NODE_V8_COVERAGE: join(folder, 'coverage'),
  AWS_REGION: 'eu-west-1',
  AWS_ACCESS_KEY_ID: 'none',
  AWS_SECRET_ACCESS_KEY: 'none',
  AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
});

function packagesIn(folder: string): string[] {
  const coverage = join(folder, 'coverage');
  const text = readdirSync(coverage).map((name) => readFileSync(join(coverage, name), 'utf8'));
  rmSync(folder, { recursive: true });
  const names = [...text.join().matchAll(/"url":"file:[^"]*\/node_modules\/((?:@[^/"]+\/)?[^/"]+)/g)];
  return [...new Set(names.map(([, name = '']) => name))];
}

/** Packages of one part or another of a gateway. */
const ofGateway = /^@aws-sdk|^@smithy|ioredis|bullmq|aedes|fastify|dynalite|prom-client|pino/;

describe('the table of the commands', () => {
  it('calls each as its code does', async () => {
    const context = openContext({});
    for (const { name, load } of commands) expect((await load(async () => context)).name()).toBe(name);
    await context.close();
  });

  it('has a help that names every command with its description, and every subcommand of one', () => {
    const help = (...argv: string[]) => execFileSync(process.execPath, [cvm, ...argv], { encoding: 'utf8' });
    const flat = help('--help').replace(/\s+/g, ' ');
    for (const { name, description } of commands)
      expect(flat).toMatch(new RegExp(` ${name} .*${description.slice(0, 20)}`));
    for (const { description } of commands) expect(flat).toContain(description);
    expect(help('help', 'tls')).toMatch(/rotate-ca .*approve .*forget-gateway/s);
  });

  it.each([
    ['that is well', ['health', '--file', cvm, '--max-age', '9999999999']],
    ['that fails', ['health', '--port', '1']],
  ])('loads for a health check %s nothing but its own code: it runs every few seconds', (_what, argv) => {
    expect(packagesLoadedBy(...argv)).toEqual(['commander']);
  });

  // the other two have options that name the behaviours and cases they know
  it.each(commands.map(({ name }) => name).filter((name) => !['sim', 'certify'].includes(name)))(
    'loads nothing but the options of a command for the help of "%s" and for a wrong argument',
    (name) => {
      expect(packagesLoadedBy(name, '--help')).toEqual(['commander']);
      expect(packagesLoadedBy(name, '--no-such-option')).toEqual(['commander']);
    },
  );

  it.each(['sim', 'certify'])('loads no part of the gateway for the help of "%s"', (name) => {
    const loaded = packagesLoadedBy(name, '--help');
    expect(loaded).toContain('commander');
    expect(loaded.filter((each) => ofGateway.test(each))).toEqual([]);
  });

  it.each([
    ['the AWS SDK, Redis and the library that signs certificates', ['tls', 'show'], [], /^@aws-sdk|ioredis|^@peculiar/],
    ['the AWS SDK, for a look at this machine', ['doctor', '--quick'], ['ioredis'], /^@aws-sdk|bullmq|^@peculiar/],
    [
      'the queue, for a command that asks AWS alone',
      ['devices', 'list'],
      ['@aws-sdk/client-dynamodb'],
      /ioredis|bullmq/,
    ],
    [
      'what signs certificates, for the state',
      ['status'],
      ['@aws-sdk/client-iot', 'ioredis'],
      /bullmq|^@peculiar|aedes/,
    ],
  ])('does not load %s, where the command needs none', (_what, argv, needed, unneeded) => {
    const loaded = packagesLoadedBy(...argv);
    expect(loaded).toEqual(expect.arrayContaining(['commander', 'zod', ...needed]));
    expect(loaded.filter((name) => unneeded.test(name))).toEqual([]);
  });

  it.each([
    ['broker', 'the AWS SDK, not even to look at its machine a moment later', /^@aws-sdk|^@smithy|fastify/],
    ['up', 'the demonstration and the stand-in', /^mqtt$|dynalite/],
  ])('starts, for "%s", what never loads %s', async (part, _what, unneeded) => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-service-'));
    const loaded = await packagesLoadedByService('looked at this machine', [part], {
      CVM_DATA_DIR: folder,
      CVM_MQTT_PORT: '0',
      CVM_CONSOLE_PORT: '0',
      CVM_BROKER_METRICS_PORT: '0',
      REDIS_URL: 'redis://127.0.0.1:1',
      LOG_LEVEL: 'debug',
    });
    rmSync(folder, { recursive: true });
    expect(loaded).toEqual(expect.arrayContaining(['aedes', 'bullmq']));
    expect(loaded.filter((name) => unneeded.test(name))).toEqual([]);
  });

  it('loads what a command needs when it runs', () => {
    expect(packagesLoadedBy('audit', 'verify')).toEqual(expect.arrayContaining(['commander', 'zod']));
  });
});
