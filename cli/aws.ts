import { Command, InvalidArgumentError, Option } from 'commander';
import { findRegion, setUpAws } from '../app/aws.ts';
import { sentenceOf } from '../app/which-aws.ts';
import { type IamRole, iamPolicy, iamRoles, partitionOf, siteIndexName } from '../aws/iam-policy.ts';
import type { Restoration } from '../registry/restoration.ts';
import type { CliContext } from './context.ts';
import { startProgress } from './progress.ts';
import { findAws } from './stand-in.ts';

export type AwsContext = Pick<CliContext, 'settings' | 'app' | 'write' | 'now'> & {
  table(): { readonly restoration: Pick<Restoration, 'note'> };
};

type PolicyOptions = { for: IamRole[]; account: string; region?: string; fromTable?: string };

export function awsCommand(context: AwsContext): Command {
  const aws = new Command('aws');
  aws
    .command('setup')
    .description('create the DynamoDB table and the IoT policy where they are missing; safe to repeat')
    .option(
      '--yes',
      'also add the index by site to a table that is there without it; without --yes, say what that costs',
    )
    .option('--json', 'print the outcome as JSON')
    .action((options: SetupOptions) => setUp(context, options));
  aws
    .command('table-restored')
    .description(
      'say that the table was restored from a backup: from now on each vend for a device that was enrolled before deletes what certificates the device has besides',
    )
    .action(async () => {
      await context.table().restoration.note(context.now());
      context.write(`${context.settings().table}: restored`);
    });
  aws
    .command('policy')
    .description('print the least-privilege IAM policy: what the product calls, and nothing else')
    .addOption(
      new Option(
        '--for <role...>',
        'gateway: the worker; operator: cvm devices and sweep; setup: cvm aws setup; doctor: what cvm doctor and cvm status look at besides',
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
      '--from-table <name>',
      'the operator takes over this table: allow to read it',
      shaped(/^[\w.-]{3,255}$/, 'A DynamoDB table has 3 to 255 of the characters A-Z a-z 0-9 _ . - in its name.'),
    )
    .action((options: PolicyOptions) => printPolicy(context, options));
  return aws;
}

type SetupOptions = { yes?: boolean; json?: boolean };

async function setUp({ app: open, write }: AwsContext, { yes = false, json }: SetupOptions): Promise<void> {
  const say = (remark: string) => console.error(`cvm: ${remark}`);
  const { app, used } = await findAws(open(), say);
  say(sentenceOf(used));
  const { table, policyName, site } = app.settings;
  let progress: ReturnType<typeof startProgress> | undefined;
  // the first look comes at once: a new table has its index already
  const onWait = (waitedMs: number) => {
    if (waitedMs > 0)
      progress ??= startProgress(() => `AWS is building the index ${siteIndexName}; the table works meanwhile`);
  };
  const made = await setUpAws(app.settings, { addIndex: yes, onWait }).finally(() => progress?.end());
  const outcome = {
    [`table ${table}`]: made.table,
    [`index ${siteIndexName}`]: made.index,
    [`IoT policy ${policyName}`]: made.policy,
  };
  if (json) write(JSON.stringify(outcome));
  else for (const [name, what] of Object.entries(outcome)) write(`${name}: ${what}`);
  if (made.index !== 'missing') return;
  say(withoutIndex(made.rows));
  // without sites, the table is complete
  if (site !== undefined) process.exitCode = 1;
}

const withoutIndex = (rows: number): string =>
  `the table has no index by site, which gateways with CVM_SITE need. "cvm aws setup --yes" adds it: AWS builds it from the ${rows} rows that it has counted last, which takes minutes to hours, while the table works. It costs about one write unit for each row of a device, once; from then on, each device costs some six write units more until it has acknowledged its certificate, and the index takes about half the storage of the table`;

/** A mistyped name makes a policy that allows nothing, which AWS takes all the same. */
function shaped(pattern: RegExp, rule: string): (text: string) => string {
  return (text) => {
    if (!pattern.test(text)) throw new InvalidArgumentError(rule);
    return text;
  };
}

async function printPolicy({ settings, write }: AwsContext, options: PolicyOptions): Promise<void> {
  const { table, policyName } = settings();
  const found = options.region ?? (await findRegion(settings()));
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
  };
  write(JSON.stringify(iamPolicy(options.for, scope), null, 2));
}

function accountId(text: string): string {
  if (!/^\d{12}$/.test(text)) throw new InvalidArgumentError('An AWS account has 12 digits.');
  return text;
}
