import { Command, InvalidArgumentError, Option } from 'commander';
import { connectDynamoDb, connectIot } from '../aws/client.ts';
import { type IamRole, iamPolicy, iamRoles, partitionOf } from '../aws/iam-policy.ts';
import { ensurePolicy } from '../issuer/setup.ts';
import { ensureTable } from '../registry/setup.ts';
import { loadSettings, type Settings } from '../runtime/settings.ts';
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
  aws
    .command('policy')
    .description('print the least-privilege IAM policy: what the product calls, and nothing else')
    .addOption(
      new Option('--for <role...>', 'gateway: the worker; operator: cvm devices and sweep; setup: cvm aws setup')
        .choices(iamRoles)
        .default(iamRoles, 'all'),
    )
    .option('--account <id>', 'the AWS account (default: any)', accountId, '*')
    .action((options: { for: IamRole[]; account: string }) => {
      const { table, policyName, awsRegion = '*' } = loadSettings(process.env);
      const scope = {
        partition: partitionOf(awsRegion),
        region: awsRegion,
        account: options.account,
        table,
        policyName,
      };
      console.log(JSON.stringify(iamPolicy(options.for, scope), null, 2));
    });
  return aws;
}

function accountId(text: string): string {
  if (!/^\d{12}$/.test(text)) throw new InvalidArgumentError('An AWS account has 12 digits.');
  return text;
}

/** Table and policy exist afterwards. @returns what was done, by name */
export async function setupAws(settings: Settings): Promise<Record<string, 'created' | 'exists'>> {
  const [dynamo, iot] = [connectDynamoDb({ role: 'setup' }), connectIot({ role: 'setup' })];
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
