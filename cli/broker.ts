import { Command, InvalidArgumentError, Option } from 'commander';
import type { ProcessNumber } from '../app/processes.ts';
import type { CommandLine } from './command-line.ts';
import { processCount } from './numbers.ts';

type Options = { processes: number; process?: ProcessNumber };

export function brokerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('broker')
    .addOption(processesOption())
    .addOption(new Option('--process <number>').argParser(processNumber).hideHelp())
    .action(async ({ processes, process }: Options) => {
      const { runBroker, runBrokerProcess } = await import('./services/broker.ts');
      return process === undefined ? runBroker(processes, serve) : runBrokerProcess(process, serve);
    });
}

/** For `cvm broker` and `cvm up`. */
export const processesOption = () =>
  new Option(
    '--processes <n>',
    'broker processes that share the port, for a machine with more cores; each gets as many connections, and its share of the limits',
  )
    .argParser(processCount)
    .default(1);

/** `2/4`, which the first process gives */
function processNumber(text: string): ProcessNumber {
  const [number = 0, of = 0] = text.split('/').map(Number);
  if (number >= 1 && number <= of) return { number, of };
  throw new InvalidArgumentError('cvm broker gives it to the processes that it starts.');
}
