#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { hideNodeWarning } from '../aws/node-warning.ts';
import { auditCommand } from './audit.ts';
import { awsCommand } from './aws.ts';
import { awsLocalCommand } from './aws-local.ts';
import { brokerCommand } from './broker.ts';
import { createContext } from './context.ts';
import { devicesCommand } from './devices.ts';
import { healthCommand } from './health.ts';
import { createCommandLine, main } from './program.ts';
import { simCommand } from './sim.ts';
import { sweepCommand } from './sweep.ts';
import { tlsCommand } from './tls.ts';
import { upCommand } from './up.ts';
import { workerCommand } from './worker.ts';

/** The table of the commands, in the order of the help. */
const commands = [
  upCommand,
  brokerCommand,
  workerCommand,
  devicesCommand,
  sweepCommand,
  simCommand,
  tlsCommand,
  auditCommand,
  awsCommand,
  awsLocalCommand,
  healthCommand,
];

hideNodeWarning();
const commandLine = createCommandLine(process.env);
const context = createContext(commandLine);
const program = new Command('cvm')
  .description(
    'Certificate vending machine at the edge: gives constrained devices their AWS IoT Core identity over MQTT.',
  )
  .version(versionOfPackage())
  .showHelpAfterError('(cvm --help says more)');
for (const command of commands) program.addCommand(command(context));

await main(program, commandLine, process.argv);

/** package.json is one folder up from the source, and two from the compiled program. */
function versionOfPackage(): string {
  const files = ['../package.json', '../../package.json'].map((path) => new URL(path, import.meta.url));
  const file = files.find((each) => existsSync(each));
  return file === undefined ? '0' : (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
