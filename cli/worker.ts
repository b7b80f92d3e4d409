import { Command } from 'commander';
import { redisOf } from '../app/redis.ts';
import { startWorkerPart } from '../app/worker.ts';
import type { CommandLine } from './program.ts';
import { findAws } from './stand-in.ts';

export function workerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('worker')
    .description(
      'run a worker: it takes requests from the queue and vends certificates from AWS IoT Core (needs REDIS_URL)',
    )
    .action(() =>
      serve(async (app) => {
        const redis = redisOf(app.settings);
        startWorkerPart(await findAws(app, (remark) => app.log.warn(remark)), redis);
      }),
    );
}
