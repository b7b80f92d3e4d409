import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Command } from 'commander';
import { pino } from 'pino';
import { type App, createApp } from '../app/app.ts';
import { setUpAws } from '../app/aws.ts';
import { startBrokerPart } from '../app/broker.ts';
import { startWorkerPart } from '../app/worker.ts';
import { redisAt } from '../queue/redis.ts';
import { startEmbeddedRedis } from '../runtime/embedded-redis.ts';
import { createLog } from '../runtime/log.ts';
import { loadSettings } from '../runtime/settings.ts';
import { ensureCommand } from '../runtime/system-packages.ts';
import { runAwsLocal } from './aws-local.ts';
import { type Demo, runDemo } from './demo.ts';
import { awsIsConfigured, type LocalAws, tidyAwsVariables, useLocalAws } from './environment.ts';
import { UsageError } from './program.ts';

type Options = { demo?: boolean; once?: boolean };

export function upCommand(): Command {
  return new Command('up')
    .description(
      'the whole gateway on this machine: broker and worker, with an embedded Redis and the local AWS stand-in where REDIS_URL or AWS are not configured',
    )
    .option('--demo', 'enrol a device and show how it gets its certificate, step by step')
    .option('--once', 'with --demo: end after the demonstration instead of staying up')
    .action(up);
}

async function up(options: Options): Promise<void> {
  tidyAwsVariables(process.env);
  const settings = loadSettings(process.env);
  mkdirSync(settings.dataDir, { recursive: true, mode: 0o700 });
  // the demonstration is to be read: the log goes to a file meanwhile
  const log = options.demo
    ? createLog(settings.logLevel, pino.destination({ dest: join(settings.dataDir, 'gateway.log'), mode: 0o600 }))
    : createLog(settings.logLevel);
  const app = createApp(settings, log);
  const signal = app.lifecycle.untilSignal();
  const say = options.demo ? (line: string) => console.log(line) : () => {};
  try {
    const demo = await startAll(app, say);
    if (options.demo) await runDemo(demo, options.once ?? false);
    if (options.once) return;
    log.info({ signal: await signal }, 'closing');
    say('\nClosing. The data stays; start again to go on with it.');
  } finally {
    await app.lifecycle.close();
  }
}

async function startAll(first: App, say: (line: string) => void): Promise<Demo> {
  say('Starting the gateway.\n');
  const redis = redisAt(first.settings.redisUrl ?? (await embedRedis(first, say)));
  const local = awsIsConfigured(process.env) ? undefined : await embedAws(first, say);
  // the stand-in's address reaches everybody through the SDK's own variables
  const app: App = { ...first, settings: loadSettings(process.env) };
  if (local !== undefined) await setUpAws(app.settings);
  startWorkerPart(app, redis);
  say(`  worker    vends certificates, ${app.settings.workerConcurrency} at a time`);
  const { broker, tls } = await startBrokerPart(app, redis);
  say(`  broker    mqtts://${app.settings.machineName}:${broker.port}`);
  say(
    `  TLS       ${tls.made === 'own' ? 'your certificate' : `certificate by this site's own CA, ${shown(tls.caFile ?? '')}`}`,
  );
  say(`            fingerprint ${tls.fingerprint}`);
  say(`            SPKI pin    ${tls.spkiPin}`);
  return { app, say, port: broker.port, tls, ...(local === undefined ? {} : { local }) };
}

async function embedRedis({ settings, log, lifecycle }: App, say: (line: string) => void): Promise<string> {
  const found = await ensureCommand('redis-server', { write: (line) => console.error(line) });
  if (!found.ok)
    throw new UsageError(
      `redis-server is not on this machine and could not be installed (${found.reason}). Run this, then start again:\n\n  ${found.command}\n`,
    );
  const redis = lifecycle.add(await startEmbeddedRedis({ dataDir: settings.dataDir, log }));
  say(`  Redis     embedded, append-only file below ${shown(join(settings.dataDir, 'redis'))}`);
  return redis.url;
}

async function embedAws(app: App, say: (line: string) => void): Promise<LocalAws> {
  const local = await runAwsLocal(app, '127.0.0.1');
  useLocalAws(process.env, local);
  say(`  AWS       no account configured: local stand-in for IoT Core and DynamoDB at ${local.httpUrl},`);
  say(`            its MQTT data plane at mqtts://localhost:${local.mqttPort}`);
  return local;
}

function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith('..') ? path : near;
}
