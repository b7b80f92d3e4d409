#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { hideNodeWarning } from '../aws/node-warning.ts';
import { commands } from './commands.ts';
import type { CliContext } from './context.ts';
import { main } from './program.ts';

hideNodeWarning();
let opened: CliContext | undefined;
const context = async () => {
  opened ??= (await import('./context.ts')).openContext(process.env);
  return opened;
};
const program = new Command('cvm')
  .description(
    'Certificate vending machine at the edge: gives constrained devices their AWS IoT Core identity over MQTT.',
  )
  .version(versionOfPackage())
  .showHelpAfterError('(cvm --help says more)');
const withStack = ['debug', 'trace'].includes(process.env.LOG_LEVEL?.trim() ?? '');

await main(program, {
  argv: process.argv,
  commands,
  context,
  withStack,
  close: async () => opened?.close(),
});

/** package.json is one folder up from the source, and two from the compiled program. */
function versionOfPackage(): string {
  const files = ['../package.json', '../../package.json'].map((path) => new URL(path, import.meta.url));
  const file = files.find((each) => existsSync(each));
  return file === undefined ? '0' : (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
