import { Command } from 'commander';
import type { CommandLine } from './command-line.ts';

export function workerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('worker').action(async () => (await import('./services/worker.ts')).runWorker(serve));
}
