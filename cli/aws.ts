import { Command, InvalidArgumentError, Option } from 'commander';
import { type IamRole, iamPolicy, iamRoles, partitionOf } from '../aws/iam-policy.ts';
import type { Restoration } from '../registry/restoration.ts';
import type { CliContext } from './context.ts';
import type { SetupOptions } from './services/aws-setup.ts';

export type AwsContext = Pick<CliContext, 'settings' | 'app' | 'write' | 'clock'> & {
  table(): Promise<{ readonly restoration: Pick<Restoration, 'note'> }>;
};

type PolicyOptions = { for: IamRole[]; account: string; region?: string; fromTable?: string; passRole?: string };

const roleArn = /^arn:[\w-]+:iam::\d{12}:role\/[\w+=,.@/-]+$/;
const roleArnRule = 'A role is named like arn:aws:iam::123456789012:role/cvm-worker.';

export function awsCommand(context: AwsContext): Command {
  const aws = new Command('aws');
  aws
    .command('setup')
    .description(
      'create the DynamoDB table and the IoT policy where they are missing, and turn on recovery and time to live of the table; safe to repeat',
    )
    .option(
      '--yes',
      'also add the index by site to a table that is there without it; without --yes, say what that costs',
    )
    .option(
      '--plan',
      'say what it would do, and do nothing: exit status 0 where nothing is to be done, 3 where something is',
    )
    .addOption(
      new Option(
        '--gateway [thing]',
        'also give this gateway a certificate of its own, by which it gets AWS credentials without keys (CVM_ROLE_ALIAS); the name of its thing (default: the one that it has, or cvm-gateway- and the site or the machine)',
      ),
    )
    .option(
      '--role <arn>',
      'with --gateway: the IAM role that the role alias stands for, where there is no such alias yet',
      shaped(roleArn, roleArnRule),
    )
    .option('--rotate', 'with --gateway: make another certificate in place of the one that it has')
    .option('--json', 'print the outcome as JSON')
    .action(async (options: SetupOptions) => (await import('./services/aws-setup.ts')).setUp(context, options));
  aws
    .command('table-restored')
    .description(
      'say that the table was restored from a backup: from now on, when a device that was enrolled before gets a certificate, its other certificates are deleted',
    )
    .action(async () => {
      await (await context.table()).restoration.note((await context.clock())());
      context.write(`${(await context.settings()).table}: restored`);
    });
  aws
    .command('template')
    .description('print all of it as a CloudFormation template: table, policies, roles, role alias and alarms')
    .action(async () => {
      const { cloudFormationTemplate } = await import('../app/cloudformation.ts');
      context.write(JSON.stringify(cloudFormationTemplate(), null, 2));
    });
  aws
    .command('policy')
    .description('print the least-privilege IAM policy: the calls that the product makes, and no others')
    .addOption(
      new Option(
        '--for <role...>',
        'gateway: the worker; operator: cvm devices and sweep; setup: cvm aws setup; identity: cvm aws setup --gateway; doctor: what cvm doctor and cvm status look at besides',
      )
        .choices(iamRoles)
        .default(iamRoles, 'all'),
    )
    .option('--account <id>', 'the AWS account; * is any', accountId, '*')
    .option(
      '--region <name>',
      'the AWS region (default: that of the AWS_REGION or AWS profile in use)',
      shaped(/^[a-z]{2,}(-[a-z]+)+-\d+$/, 'An AWS region is spelled like eu-west-1.'),
    )
    .option(
      '--pass-role <arn>',
      'the identity makes a role alias for this role: allow to pass it on',
      shaped(roleArn, roleArnRule),
    )
    .option(
      '--from-table <name>',
      'the operator takes over this table: allow to read it',
      shaped(/^[\w.-]{3,255}$/, 'A DynamoDB table has 3 to 255 of the characters A-Z a-z 0-9 _ . - in its name.'),
    )
    .action((options: PolicyOptions) => printPolicy(context, options));
  return aws;
}

/** A mistyped name makes a policy that allows nothing, which AWS takes all the same. */
function shaped(pattern: RegExp, rule: string): (text: string) => string {
  return (text) => {
    if (!pattern.test(text)) throw new InvalidArgumentError(rule);
    return text;
  };
}

async function printPolicy({ settings, write }: AwsContext, options: PolicyOptions): Promise<void> {
  const { table, policyName } = await settings();
  const found = options.region ?? (await (await import('../app/aws.ts')).findRegion(await settings()));
  if (found === undefined)
    console.error(
      'cvm: no AWS region is set (AWS_REGION, a profile, --region): the policy is for every region of the partition aws',
    );
  const region = found ?? '*';
  const scope = {
    partition: partitionOf(region),
    region,
    account: options.account,
    table,
    policyName,
    sourceTable: options.fromTable,
    gatewayRole: options.passRole,
  };
  write(JSON.stringify(iamPolicy(options.for, scope), null, 2));
}

function accountId(text: string): string {
  if (!/^\d{12}$/.test(text)) throw new InvalidArgumentError('An AWS account has 12 digits.');
  return text;
}
