import { startBrokerPart } from '../../app/broker.ts';
import { examineAtStart } from '../../app/examine-at-start.ts';
import { claimStores } from '../../app/formats.ts';
import { serveMonitoring } from '../../app/monitoring-port.ts';
import { asProcess, followFirstProcess, type ProcessNumber, startBrokerProcesses } from '../../app/processes.ts';
import { redisOf } from '../../app/redis.ts';
import { withTracing } from '../../app/tracing.ts';
import type { CommandLine } from '../command-line.ts';

export const runBroker = (processes: number, serve: CommandLine['serve']) =>
  serve(async (app) => {
    // before anything is started: a REDIS_URL that is missing is said once
    const redis = redisOf(app.settings);
    await serveMonitoring(app, app.settings.monitoring.broker, 'CVM_BROKER_METRICS_PORT');
    examineAtStart(app, redis, ['broker']);
    await claimStores(app, redis);
    if (processes === 1) await startBrokerPart(await withTracing(app, 'cvm-broker'), redis);
    else await startBrokerProcesses(app, { program: cvmProgram(), count: processes });
  });

/** One of several, which the first starts. */
export const runBrokerProcess = (number: ProcessNumber, serve: CommandLine['serve']) =>
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
