import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type App, createApp } from '../../app/app.ts';
import { requireAws } from '../../app/aws.ts';
import { setUpAws } from '../../app/aws-setup.ts';
import { loadTls, startBrokerPart } from '../../app/broker.ts';
import { startConsolePart } from '../../app/console.ts';
import { examineAtStart } from '../../app/examine-at-start.ts';
import { claimStores } from '../../app/formats.ts';
import { serveMonitoring } from '../../app/monitoring-port.ts';
import { wordByTable } from '../../app/new-gateway.ts';
import { startBrokerProcesses } from '../../app/processes.ts';
import { embedRedis, redisOf } from '../../app/redis.ts';
import { withTracing } from '../../app/tracing.ts';
import { namedAws } from '../../app/which-aws.ts';
import { startWorkerPart } from '../../app/worker.ts';
import type { RedisConnector } from '../../queue/redis.ts';
import { requireNoOther } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { logToFile } from '../../runtime/log-destination.ts';
import { findRedisServer } from '../../runtime/redis-server.ts';
import type { Settings } from '../../runtime/settings.ts';
import { findCommand, installCommand } from '../../runtime/system-packages.ts';
import { claimDataFolder } from '../../site-tls/data-format.ts';
import type { TlsMaterial } from '../../site-tls/material.ts';
import type { CommandLine } from '../command-line.ts';
import type { Demo } from '../demo.ts';
import { writeLine } from '../output.ts';
import { openServiceLog, type ServiceLog } from '../service-log.ts';
import { type LocalAws, onLocalAws } from '../stand-in.ts';
import { UsageError } from '../usage-error.ts';
import { cvmProgram } from './broker.ts';
import { firstPassword, unseenPassword } from './console.ts';

export type UpOptions = { localAws?: boolean; demo?: boolean; once?: boolean; processes: number };
type Say = (line: string) => void;

/** What `cvm up` runs. Loaded when it runs, as all in this folder is. */
export async function up(
  commandLine: Pick<CommandLine, 'settings' | 'environment'>,
  options: UpOptions,
): Promise<void> {
  const settings = await commandLine.settings();
  const noColor = commandLine.environment.NO_COLOR;
  requireRedisServer(settings);
  if (settings.redisUrl === undefined) requireNoOther(settings.dataDir);
  mkdirSync(settings.dataDir, { recursive: true, mode: 0o700 });
  // the demonstration is to be read: the log goes to a file meanwhile
  const { log, reopen }: ServiceLog = options.demo
    ? { log: createLog(settings.logLevel, logToFile(join(settings.dataDir, 'gateway.log'))) }
    : openServiceLog(settings, noColor);
  const app = createApp(settings, log, reopen);
  const signal = app.lifecycle.untilEnd();
  const say: Say = options.demo ? (line) => console.log(line) : () => {};
  try {
    const start = async () => {
      await serveMonitoring(app, settings.monitoring.broker, 'CVM_BROKER_METRICS_PORT');
      const demo = await startAll(await withTracing(app, 'cvm-gateway'), options, say, commandLine.environment);
      // what only the demonstration needs, and below only the stand-in, is not loaded in a gateway at work
      if (options.demo) await (await import('../demo.ts')).runDemo(demo, options.once ?? false);
    };
    const early = await app.lifecycle.started(start(), signal);
    if (early === undefined && options.once) return;
    log.info({ signal: early ?? (await signal) }, 'closing');
    say('\nClosing. The data stays; start again to go on with it.');
  } finally {
    await app.lifecycle.close();
  }
}

/**
 * Starts the whole gateway: Redis, the stand-in where it is asked for, worker and broker.
 * @param environment of the process, which the console shows the settings of; absent: there is no console
 */
export async function startAll(
  first: App,
  options: Pick<UpOptions, 'localAws' | 'processes'>,
  say: Say,
  environment?: NodeJS.ProcessEnv,
): Promise<Demo> {
  say('Starting the gateway.\n');
  // checked first, so that a start that cannot succeed changes nothing: the account, and whether another gateway holds this
  // data folder
  if (!options.localAws) await useAccount(first, say);
  claimDataFolder(first.settings.dataDir);
  const { redis, embeddedAt } = await connectRedis(first, say);
  const local = options.localAws ? await startLocalAws(first, say) : undefined;
  const app = local === undefined ? first : { ...first, settings: onLocalAws(first.settings, local) };
  if (local !== undefined) {
    app.log.info({ ...namedAws(app.settings), table: app.settings.table }, 'using AWS');
    await setUpAws(app.settings, { addIndex: true });
  }
  await claimStores(app, redis, 'gateway');
  const { table, gateways } = startWorkerPart(app, redis);
  examineAtStart(app, redis, ['broker', 'worker']);
  say(`  worker    vends certificates, ${app.settings.workerConcurrency} at a time`);
  const part = { app, say, ...(local === undefined ? {} : { local }) };
  if (options.processes > 1) {
    // they find the embedded Redis by it; only this user can read the environment of a process
    const start = {
      program: cvmProgram(),
      count: options.processes,
      env: embeddedAt === undefined ? {} : { REDIS_URL: embeddedAt },
    };
    const { port } = await startBrokerProcesses(app, start);
    if (environment !== undefined) await startConsole(app, redis, environment, say);
    return { ...part, port, tls: await loadTls(app) };
  }
  const { broker, tls } = await startBrokerPart(app, redis, (gateway) =>
    wordByTable(gateway, { gateways, registry: table.registry, now: app.awsTime.now }),
  );
  sayBroker(app.settings.machineName, broker.port, tls, say);
  if (environment !== undefined) await startConsole(app, redis, environment, say);
  return { ...part, port: broker.port, tls };
}

async function startConsole(app: App, redis: RedisConnector, environment: NodeJS.ProcessEnv, say: Say): Promise<void> {
  const { port, password } = await startConsolePart(app, redis, environment);
  say(`  console   https://${app.settings.machineName}:${port}`);
  // systemd sets the variable; what goes to its journal is kept
  const isKept = environment.JOURNAL_STREAM !== undefined && !process.stdout.isTTY;
  if (password === undefined) say('            for a password that is lost: cvm console password --reset');
  else writeLine(`            ${isKept ? unseenPassword : firstPassword(password)}`);
}

/** A service does not run a package manager by itself: it names the command. */
export function requireRedisServer({ redisUrl, searchPath }: Settings): void {
  if (redisUrl !== undefined || findRedisServer(searchPath) !== undefined) return;
  const find = (name: string) => findCommand(name, searchPath);
  throw new UsageError(
    `neither redis-server nor valkey-server is on this machine. Run this, then start again, or name a Redis in REDIS_URL:\n\n  ${installCommand('redis-server', find)}\n`,
  );
}

type Site = { readonly redis: RedisConnector; readonly embeddedAt?: string };

async function connectRedis(app: App, say: Say): Promise<Site> {
  if (app.settings.redisUrl !== undefined) return { redis: redisOf(app.settings) };
  const { redis, folder, url } = await embedRedis(app);
  say(`  Redis     embedded, append-only file below ${shown(folder)}`);
  return { redis, embeddedAt: url };
}

async function startLocalAws(app: App, say: Say): Promise<LocalAws> {
  const { runAwsLocal } = await import('../aws-local.ts');
  const local = await runAwsLocal(app, '127.0.0.1');
  say(`  AWS       none: a local stand-in for IoT Core and DynamoDB (--local-aws) at ${local.httpUrl},`);
  say(`            its MQTT data plane at mqtts://localhost:${local.mqttPort}`);
  return local;
}

async function useAccount(app: App, say: Say): Promise<void> {
  const { region, account } = await requireAws(app);
  say(`  AWS       your account (${account}), in ${region}`);
}

function sayBroker(machineName: string, port: number, tls: TlsMaterial, say: Say): void {
  const origin =
    tls.origin === 'own' ? 'your certificate' : `certificate by this site's own CA, ${shown(tls.caFile ?? '')}`;
  say(`  broker    mqtts://${machineName}:${port}`);
  say(`  TLS       ${origin}`);
  say(`            fingerprint ${tls.fingerprint}`);
  say(`            SPKI pin    ${tls.spkiPin}`);
  if (tls.beside?.caFile !== undefined) say(`            for RSA     ${shown(tls.beside.caFile)}`);
}

function shown(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith('..') ? path : near;
}
