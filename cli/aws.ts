import { Command, InvalidArgumentError, Option } from 'commander';
import { findRegion } from '../app/aws.ts';
import {
  type GatewayWish,
  planAws,
  type SetupStep,
  setUpAws,
  setUpGateway,
  upkeepNames,
  upkeepText,
} from '../app/aws-setup.ts';
import { cloudFormationTemplate } from '../app/cloudformation.ts';
import { usualThingName } from '../app/gateway-identity.ts';
import { sentenceOf } from '../app/which-aws.ts';
import { readGatewayIdentity } from '../aws/gateway-identity.ts';
import { type IamRole, iamPolicy, iamRoles, partitionOf, siteIndexName } from '../aws/iam-policy.ts';
import type { UpkeepOutcome } from '../registry/dynamodb/upkeep-setup.ts';
import type { Restoration } from '../registry/restoration.ts';
import type { Settings } from '../runtime/settings.ts';
import type { CliContext } from './context.ts';
import { startProgress } from './progress.ts';
import { findAws } from './stand-in.ts';
import { UsageError } from './usage-error.ts';

export type AwsContext = Pick<CliContext, 'settings' | 'app' | 'write' | 'now'> & {
  table(): { readonly restoration: Pick<Restoration, 'note'> };
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
    .action((options: SetupOptions) => setUp(context, options));
  aws
    .command('table-restored')
    .description(
      'say that the table was restored from a backup: from now on, when a device that was enrolled before gets a certificate, its other certificates are deleted',
    )
    .action(async () => {
      await context.table().restoration.note(context.now());
      context.write(`${context.settings().table}: restored`);
    });
  aws
    .command('template')
    .description('print all of it as a CloudFormation template: table, policies, roles, role alias and alarms')
    .action(() => context.write(JSON.stringify(cloudFormationTemplate(), null, 2)));
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

type SetupOptions = {
  yes?: boolean;
  json?: boolean;
  plan?: boolean;
  gateway?: string | true;
  role?: string;
  rotate?: boolean;
};

/** Neither 1, which is a failure, nor 2, which is a mistake: a script can tell that there is something to do. */
const somethingToDo = 3;

async function setUp(context: AwsContext, options: SetupOptions): Promise<void> {
  const { app: open, write } = context;
  const { yes = false, json, plan = false } = options;
  const say = (remark: string) => console.error(`cvm: ${remark}`);
  const { app, used, local } = await findAws(open(), say, { forSetup: true });
  say(sentenceOf(used));
  const gateway = gatewayWish(app.settings, options, local?.mqttPort);
  const steps = await planAws(app.settings, { addIndex: yes, gateway });
  if (plan) {
    if (json) write(JSON.stringify(steps));
    else for (const step of steps) write(textOf(step));
    if (steps.some(({ will }) => will !== undefined)) process.exitCode = somethingToDo;
    return;
  }
  for (const step of steps) say(textOf(step));
  const { table, policyName, site } = app.settings;
  let progress: ReturnType<typeof startProgress> | undefined;
  // the first look comes at once: a new table has its index already
  const onWait = (waitedMs: number) => {
    if (waitedMs > 0)
      progress ??= startProgress(() => `AWS is building the index ${siteIndexName}; the table works meanwhile`);
  };
  const made = await setUpAws(app.settings, { addIndex: yes, onWait }).finally(() => progress?.end());
  const identity = gateway === undefined ? undefined : await setUpGateway(app.settings, gateway, app.log);
  const outcome = {
    [`table ${table}`]: made.table,
    [`index ${siteIndexName}`]: made.index,
    ...Object.fromEntries(upkeepNames.map((part) => [upkeepText[part].what, upkeepWord(made[part])])),
    [`IoT policy ${policyName}`]: made.policy,
    ...(gateway === undefined ? {} : { [`certificate of the thing ${gateway.thingName}`]: identity }),
  };
  if (json) write(JSON.stringify(outcome));
  else for (const [name, what] of Object.entries(outcome)) write(`${name}: ${what}`);
  for (const part of upkeepNames) {
    const outcome = made[part];
    if (typeof outcome !== 'object' || !('notDone' in outcome)) continue;
    // all else is done; a script must know that this is not
    process.exitCode = 1;
    say(`${upkeepText[part].what} is not on: ${outcome.notDone}`);
  }
  if (gateway !== undefined && app.settings.roleAlias === undefined)
    say(
      `set CVM_ROLE_ALIAS=${gateway.roleAlias} for this gateway, and unset the AWS keys or the profile that it has now`,
    );
  if (made.index !== 'missing') return;
  say(withoutIndex(made.rows));
  // without sites, the table is complete
  if (site !== undefined) process.exitCode = 1;
}

/** The reason stands in the plan, or is said besides. */
const upkeepWord = (outcome: UpkeepOutcome): string => (typeof outcome === 'string' ? outcome : 'left as it is');

const textOf = ({ what, now, will }: SetupStep): string => `${what}: ${now}${will === undefined ? '' : `; ${will}`}`;

/** As the role alias is named where no setting names it, here and in the template of deploy/aws/. */
const usualRoleAlias = 'cvm-gateway';

function gatewayWish(
  settings: Settings,
  { gateway, role, rotate }: SetupOptions,
  port: number | undefined,
): GatewayWish | undefined {
  if (gateway === undefined) {
    if (role !== undefined || rotate) throw new UsageError('--role and --rotate are for --gateway: add it');
    return undefined;
  }
  const own = readGatewayIdentity(settings.gatewayCertificate.certFile);
  const thingName = gateway === true ? usualThingName(settings, own) : gateway;
  if (thingName === undefined)
    throw new UsageError(
      'a container has no name of its own: say as which thing AWS is to know this gateway, as in --gateway cvm-gateway-plant-7',
    );
  if (!/^[\w:-]{1,128}$/.test(thingName))
    throw new UsageError('--gateway: the name of a thing has letters, digits and :_- only, at most 128');
  return { thingName, roleAlias: settings.roleAlias?.name ?? usualRoleAlias, roleArn: role, rotate, port };
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
    gatewayRole: options.passRole,
  };
  write(JSON.stringify(iamPolicy(options.for, scope), null, 2));
}

function accountId(text: string): string {
  if (!/^\d{12}$/.test(text)) throw new InvalidArgumentError('An AWS account has 12 digits.');
  return text;
}
