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
import { hideNodeWarning } from '../aws/node-warning.ts';
import type { AssociationTable } from '../registry/dynamodb/association-table.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { auditCommand } from './audit.ts';
import { awsCommand } from './aws.ts';
import { awsLocalCommand } from './aws-local.ts';
import { devicesCommand } from './devices.ts';
import { healthCommand } from './health.ts';
import { createCommandLine, main } from './program.ts';
import { simCommand } from './sim.ts';
import { findAws } from './stand-in.ts';
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

hideNodeWarning();
const commandLine = createCommandLine(process.env);
const settings = () => commandLine.app().settings;

let connected: AssociationTable | undefined;
const table = (): AssociationTable => {
  connected ??= connectTable(commandLine.awsApp(), 'operator');
  return connected;
};

let trail: Audit | undefined;
const audit = (): Audit => {
  trail ??= keepAudit(commandLine.app(), 'cvm');
  return trail;
};

const operator = () => connectOperator(commandLine.awsApp());

const program = new Command('cvm')
  .description(
    'Certificate vending machine at the edge: gives constrained devices their AWS IoT Core identity over MQTT.',
  )
  .version(version)
  .showHelpAfterError('(cvm --help says more)');

program.addCommand(upCommand(commandLine));
program
  .command('broker')
  .description('the MQTT broker that devices talk to (needs REDIS_URL)')
  .action(() => commandLine.serve((app) => startBrokerPart(app, redisOf(app.settings))));
program
  .command('worker')
  .description('takes requests from the queue and vends certificates from AWS IoT Core (needs REDIS_URL)')
  .action(() =>
    commandLine.serve(async (app) => {
      const redis = redisOf(app.settings);
      startWorkerPart(await findAws(app, (remark) => app.log.warn(remark)), redis);
    }),
  );
program.addCommand(devicesCommand({ operator, write: print }));
program.addCommand(
  sweepCommand(
    {
      settings,
      table,
      audit,
      issuer: (callsPerSecond) => connectIssuer(commandLine.awsApp(), 'operator', callsPerSecond),
      write: print,
      now: Date.now,
    },
    sweepCallsPerSecond,
  ),
);
program.addCommand(simCommand({ settings, operator, caPem: siteCa, write: print }));
program.addCommand(tlsCommand({ settings, gateways: () => table().gateways, audit, write: print, now: Date.now }));
program.addCommand(auditCommand({ settings, write: print }));
program.addCommand(awsCommand(commandLine));
program.addCommand(awsLocalCommand(commandLine));
program.addCommand(healthCommand());

async function siteCa(): Promise<string> {
  return readFile(join(settings().dataDir, 'tls', 'site-ca.crt'), 'utf8');
}

await main(program, commandLine, process.argv);
