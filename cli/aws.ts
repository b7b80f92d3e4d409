import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { IoTClient } from '@aws-sdk/client-iot';
import { Command } from 'commander';
import { ensureTable } from '../registry/setup.ts';
import type { Settings } from '../runtime/settings.ts';
import { ensurePolicy } from '../worker/aws-setup.ts';
import { forOneCommand } from './program.ts';

export function awsCommand(): Command {
  const aws = new Command('aws').description('prepare the AWS account');
  aws
    .command('setup')
    .description('create the DynamoDB table and the IoT policy where they are missing; safe to repeat')
    .option('--json', 'print the outcome as JSON')
    .action(async (options: { json?: boolean }) => {
      const outcome = await setupAws(forOneCommand().settings);
      if (options.json) console.log(JSON.stringify(outcome));
      else for (const [name, what] of Object.entries(outcome)) console.log(`${name}: ${what}`);
    });
  return aws;
}

/** Table and policy exist afterwards. @returns what was done, by name */
export async function setupAws(settings: Settings): Promise<Record<string, 'created' | 'exists'>> {
  const [dynamo, iot] = [new DynamoDBClient({}), new IoTClient({})];
  try {
    const [table, policy] = await Promise.all([
      ensureTable(dynamo, settings.table),
      ensurePolicy(iot, settings.policyName),
    ]);
    return { [`table ${settings.table}`]: table, [`IoT policy ${settings.policyName}`]: policy };
  } finally {
    dynamo.destroy();
    iot.destroy();
  }
}
