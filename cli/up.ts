import { Command } from 'commander';
import { processesOption } from './broker.ts';
import type { CommandLine } from './command-line.ts';
import type { UpOptions } from './services/up.ts';

export function upCommand(commandLine: CommandLine): Command {
  return new Command('up')
    .option('--local-aws', 'use a local stand-in for AWS IoT Core and DynamoDB instead of an AWS account')
    .option('--demo', 'enrol a device and show how it gets its certificate, step by step')
    .addOption(processesOption().conflicts('demo'))
    .option('--once', 'with --demo: end after the demonstration instead of staying up')
    .action(async (options: UpOptions) => (await import('./services/up.ts')).up(commandLine, options));
}
