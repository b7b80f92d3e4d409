import { Command, InvalidArgumentError, Option } from 'commander';
import { startBrokerPart } from '../app/broker.ts';
import { examineAtStart } from '../app/examine-at-start.ts';
import { claimStores } from '../app/formats.ts';
import { serveMonitoring } from '../app/monitoring-port.ts';
import { asProcess, followFirstProcess, type ProcessNumber, startBrokerProcesses } from '../app/processes.ts';
import { redisOf } from '../app/redis.ts';
import { withTracing } from '../app/tracing.ts';
import type { CommandLine } from './command-line.ts';
import { processCount } from './numbers.ts';

type Options = { processes: number; process?: ProcessNumber };

export function brokerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('broker')
    .addOption(processesOption())
    .addOption(new Option('--process <number>').argParser(processNumber).hideHelp())
    .action(({ processes, process }: Options) => {
      if (process !== undefined) return serveAs(process, serve);
      return serve(async (app) => {
        // before anything is started: a REDIS_URL that is missing is said once
        const redis = redisOf(app.settings);
        await serveMonitoring(app, app.settings.monitoring.broker, 'CVM_BROKER_METRICS_PORT');
        examineAtStart(app, redis, ['broker']);
        await claimStores(app, redis);
        if (processes === 1) await startBrokerPart(await withTracing(app, 'cvm-broker'), redis);
        else await startBrokerProcesses(app, { program: cvmProgram(), count: processes });
      });
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

const serveAs = (number: ProcessNumber, serve: CommandLine['serve']) =>
  serve(
    async (first) => {
      const app = await withTracing(asProcess(first, number), 'cvm-broker');
      followFirstProcess(app);
      await startBrokerPart(app, redisOf(app.settings));
    },
    { process: number.number },
  );

/** The program that runs now. */
export const cvmProgram = (): string => process.argv[1] ?? '';

/** `2/4`, which the first process gives */
function processNumber(text: string): ProcessNumber {
  const [number = 0, of = 0] = text.split('/').map(Number);
  if (number >= 1 && number <= of) return { number, of };
  throw new InvalidArgumentError('cvm broker gives it to the processes that it starts.');
}
