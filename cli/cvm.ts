#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { hideNodeWarning } from '../aws/node-warning.ts';
import { productVersion } from '../runtime/version.ts';
import { commands } from './commands.ts';
import type { CliContext } from './context.ts';
import { main, wantsJson } from './program.ts';

hideNodeWarning();
let opened: CliContext | undefined;
const context = async () => {
  opened ??= (await import('./context.ts')).openContext(process.env, wantsJson(process.argv));
  return opened;
};
const program = new Command('cvm')
  .description(
    'Certificate vending machine at the edge: gives constrained devices their AWS IoT Core identity over MQTT.',
  )
  .version(productVersion())
  // not for the help, which needs no settings
  .hook('preAction', addEnvFile);
const withStack = () => ['debug', 'trace'].includes(process.env.LOG_LEVEL?.trim() ?? '');

await main(program, {
  argv: process.argv,
  commands,
  context,
  withStack,
  close: async () => opened?.close(),
});

/** Adds what `.env` in the working directory says to the environment, where the AWS SDK reads its variables as well. */
async function addEnvFile(): Promise<void> {
  // a health check, which runs where there is none, is not to load what this needs
  if (!existsSync('.env')) return;
  const { readEnvFile } = await import('../runtime/env-file.ts');
  const remark = (text: string) => console.error(`cvm: ${text}`);
  Object.assign(process.env, readEnvFile('.env', process.env, remark));
}
