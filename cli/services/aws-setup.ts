import {
  type GatewayWish,
  planAws,
  type SetupStep,
  setUpAws,
  setUpGateway,
  upkeepNames,
  upkeepText,
} from '../../app/aws-setup.ts';
import { usualThingName } from '../../app/gateway-identity.ts';
import { sentenceOf } from '../../app/which-aws.ts';
import { readGatewayIdentity } from '../../aws/gateway-identity.ts';
import { siteIndexName } from '../../aws/iam-policy.ts';
import type { UpkeepOutcome } from '../../registry/dynamodb/upkeep-setup.ts';
import type { Settings } from '../../runtime/settings.ts';
import { complain } from '../complaint.ts';
import type { CliContext } from '../context.ts';
import { startProgress } from '../progress.ts';
import { findAws } from '../stand-in.ts';
import { UsageError } from '../usage-error.ts';

export type SetupOptions = {
  yes?: boolean;
  json?: boolean;
  plan?: boolean;
  gateway?: string | true;
  role?: string;
  rotate?: boolean;
};

/** Neither 1, which is a failure, nor 2, which is a mistake: a script can tell that there is something to do. */
const somethingToDo = 3;

/** What `cvm aws setup` does. */
export async function setUp(context: Pick<CliContext, 'app' | 'write'>, options: SetupOptions): Promise<void> {
  const { app: open, write } = context;
  const { yes = false, json, plan = false } = options;
  const say = (remark: string) => console.error(`cvm: ${remark}`);
  const { app, used, local } = await findAws(await open(), say, { forSetup: true });
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
    complain({ cause: `${upkeepText[part].what} is not on: ${outcome.notDone}` }, json);
  }
  if (gateway !== undefined && app.settings.roleAlias === undefined)
    say(
      `set CVM_ROLE_ALIAS=${gateway.roleAlias} for this gateway, and unset the AWS keys or the profile that it has now`,
    );
  if (made.index !== 'missing') return;
  // without sites, the table is complete
  if (site === undefined) say(withoutIndex(made.rows));
  else complain({ cause: withoutIndex(made.rows) }, json);
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
