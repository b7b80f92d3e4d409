import { Command } from 'commander';
import { redisOf } from '../app/redis.ts';
import { startWorkerPart } from '../app/worker.ts';
import type { CommandLine } from './command-line.ts';
import { findAws } from './stand-in.ts';

export function workerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('worker').action(() =>
    serve(async (app) => {
      const redis = redisOf(app.settings);
      const found = await findAws(app, (remark) => app.log.warn(remark));
      startWorkerPart(found.app, redis);
    }),
  );
}
