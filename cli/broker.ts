import { Command } from 'commander';
import { startBrokerPart } from '../app/broker.ts';
import { redisOf } from '../app/redis.ts';
import type { CommandLine } from './program.ts';

export function brokerCommand({ serve }: Pick<CommandLine, 'serve'>): Command {
  return new Command('broker')
    .description('run the MQTT broker that devices talk to (needs REDIS_URL)')
    .action(() => serve((app) => startBrokerPart(app, redisOf(app.settings))));
}
