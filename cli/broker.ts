import { Command } from 'commander';
import { startBrokerPart } from '../app/broker.ts';
import { redisOf } from '../app/redis.ts';
import type { CommandLine } from './command-line.ts';

export function brokerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('broker').action(() => serve((app) => startBrokerPart(app, redisOf(app.settings))));
}
