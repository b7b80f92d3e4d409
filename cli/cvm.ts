#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { keepAudit } from '../app/app.ts';
import { connectIssuer, connectTable } from '../app/aws.ts';
import { startBrokerPart } from '../app/broker.ts';
import { connectOperator } from '../app/operator.ts';
import { redisOf } from '../app/redis.ts';
import { startWorkerPart, sweepCallsPerSecond } from '../app/worker.ts';
import type { AssociationTable } from '../registry/dynamodb/association-table.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { auditCommand } from './audit.ts';
import { awsCommand } from './aws.ts';
import { awsLocalCommand } from './aws-local.ts';
import { devicesCommand } from './devices.ts';
import { healthCommand } from './health.ts';
import { forOneCommand, main, serve } from './program.ts';
import { simCommand } from './sim.ts';
import { sweepCommand } from './sweep.ts';
import { tlsCommand } from './tls.ts';
import { upCommand } from './up.ts';

// one folder up from the source, two from what is built
const packageFile = ['../package.json', '../../package.json']
  .map((path) => new URL(path, import.meta.url))
  .find((file) => existsSync(file));
const { version } = JSON.parse(packageFile ? readFileSync(packageFile, 'utf8') : '{"version":"0"}') as {
  version: string;
};

const print = (line: string) => console.log(line);

let connected: AssociationTable | undefined;
const table = (): AssociationTable => {
  connected ??= connectTable(forOneCommand(), 'operator');
  return connected;
};

let trail: Audit | undefined;
const audit = (): Audit => {
  trail ??= keepAudit(forOneCommand(), 'cvm');
  return trail;
};

const operator = () => connectOperator(forOneCommand());

const program = new Command('cvm')
  .description(
    'Certificate vending machine at the edge: gives constrained devices their AWS IoT Core identity over MQTT.',
  )
  .version(version)
  .showHelpAfterError('(cvm --help says more)');

program.addCommand(upCommand());
program
  .command('broker')
  .description('the MQTT broker that devices talk to (needs REDIS_URL)')
  .action(() => serve((app) => startBrokerPart(app, redisOf(app.settings))));
program
  .command('worker')
  .description('takes requests from the queue and vends certificates from AWS IoT Core (needs REDIS_URL)')
  .action(() => serve(async (app) => startWorkerPart(app, redisOf(app.settings))));
program.addCommand(devicesCommand({ operator, write: print }));
program.addCommand(
  sweepCommand(
    {
      settings: () => forOneCommand().settings,
      table,
      audit,
      issuer: (callsPerSecond) => connectIssuer(forOneCommand(), 'operator', callsPerSecond),
      write: print,
      now: Date.now,
    },
    sweepCallsPerSecond,
  ),
);
program.addCommand(simCommand({ settings: () => forOneCommand().settings, operator, caPem: siteCa, write: print }));
program.addCommand(
  tlsCommand({
    settings: () => forOneCommand().settings,
    gateways: () => table().gateways,
    audit,
    write: print,
    now: Date.now,
  }),
);
program.addCommand(auditCommand({ settings: () => forOneCommand().settings, write: print }));
program.addCommand(awsCommand());
program.addCommand(awsLocalCommand());
program.addCommand(healthCommand());

async function siteCa(): Promise<string> {
  const { dataDir } = forOneCommand().settings;
  return readFile(join(dataDir, 'tls', 'site-ca.crt'), 'utf8');
}

await main(program, process.argv);
