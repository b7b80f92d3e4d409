import { connectDynamoDb } from '../aws/client.ts';
import { createAwsConnections } from '../aws/connections.ts';
import { createAwsGate } from '../aws/gate.ts';
import { readGatewayIdentity } from '../aws/gateway-identity.ts';
import { gatewayPolicyName, type IamRole, siteIndexName } from '../aws/iam-policy.ts';
import { ensureGateway, findGateway } from '../issuer/gateway-setup.ts';
import { connectIotClients, type IotCalls, openIot } from '../issuer/iot-calls.ts';
import { ensurePolicy, findPolicy } from '../issuer/setup.ts';
import { ensureTable, findTable, type TableSetup, type TableSetupOptions } from '../registry/dynamodb/setup.ts';
import { type DynamoTable, openDynamoTable } from '../registry/dynamodb/table.ts';
import { openTableUpkeep, type TableUpkeep } from '../registry/dynamodb/upkeep.ts';
import {
  ensureUpkeep,
  findUpkeep,
  type UpkeepName,
  type UpkeepOutcome,
  type UpkeepState,
} from '../registry/dynamodb/upkeep-setup.ts';
import type { Log } from '../runtime/log.ts';
import type { Settings } from '../runtime/settings.ts';
import { renewIdentity } from './gateway-identity.ts';

/** One thing in the account. `will`: what a set-up does to it; undefined where it is as it should be. */
export type SetupStep = { readonly what: string; readonly now: string; readonly will?: string | undefined };

/** A gateway that is to need no AWS keys. */
export type GatewayWish = {
  readonly thingName: string;
  readonly roleAlias: string;
  /** for an alias that is not there */
  readonly roleArn?: string | undefined;
  /** another certificate in place of one that works */
  readonly rotate?: boolean | undefined;
  /** of a stand-in's credentials provider */
  readonly port?: number | undefined;
};

type Wishes = { readonly addIndex: boolean; readonly gateway?: GatewayWish | undefined };

/** @throws what `cvm aws setup` would throw: a table of another shape, say. Nothing is changed */
export async function planAws(settings: Settings, { addIndex, gateway }: Wishes): Promise<readonly SetupStep[]> {
  const [ofAccount, ofGateway] = await Promise.all([
    withAws(settings, 'setup', (calls) => planAccount(settings, addIndex, calls)),
    gateway === undefined ? [] : withAws(settings, 'identity', ({ iot }) => planGateway(settings, gateway, iot)),
  ]);
  return [...ofAccount, ...ofGateway];
}

async function planAccount(
  { table: name, policyName, site }: Settings,
  addIndex: boolean,
  { table, upkeep, iot }: Calls,
): Promise<SetupStep[]> {
  const [found, policy] = await Promise.all([findTable(table), findPolicy(iot, policyName)]);
  const kept = found === undefined ? ({ recovery: 'off', timeToLive: 'off' } as const) : await findUpkeep(upkeep);
  const hasIndex = found?.indexes.some((index) => index.name === siteIndexName) ?? false;
  const index =
    found === undefined
      ? { now: 'missing', will: 'is made with the table' }
      : hasIndex
        ? { now: 'is there' }
        : {
            now: 'missing; only gateways with CVM_SITE need it',
            will: addIndex
              ? `is built from the ${found.rows} rows that AWS counted last`
              : site === undefined
                ? undefined
                : 'stays so without --yes, and this gateway has a site',
          };
  return [
    {
      what: `table ${name}`,
      ...(found === undefined
        ? { now: 'missing', will: 'is made: key productId, paid by request, protected against deletion' }
        : { now: 'is there' }),
    },
    { what: `index ${siteIndexName}`, ...index },
    ...upkeepNames.map((part) => ({ what: upkeepText[part].what, ...upkeepStep(kept[part], upkeepText[part].will) })),
    {
      what: `IoT policy ${policyName}`,
      ...(policy
        ? { now: 'is there; its text is left as it is' }
        : { now: 'missing', will: 'is made: each device reaches its own topics only' }),
    },
  ];
}

/** As the template of deploy/aws/ has them. */
export const upkeepText: Readonly<Record<UpkeepName, { readonly what: string; readonly will: string }>> = {
  recovery: {
    what: 'point-in-time recovery',
    will: 'is turned on: rows that are deleted by mistake can be brought back for 35 days. AWS charges for it by the size of the table',
  },
  timeToLive: { what: 'time to live', will: 'is turned on: AWS deletes what is left of removed devices, at no cost' },
};
export const upkeepNames = ['recovery', 'timeToLive'] as const;

const upkeepStep = (state: UpkeepState, will: string) =>
  typeof state === 'object' ? { now: state.left } : state === 'on' ? { now: 'is on' } : { now: 'off', will };

async function planGateway(settings: Settings, wish: GatewayWish, iot: IotCalls): Promise<SetupStep[]> {
  const { roleAlias, roleArn, thingName, rotate } = wish;
  const { certFile } = settings.gatewayCertificate;
  const own = readGatewayIdentity(certFile);
  const found = await findGateway(iot, roleAlias, own?.certificateId);
  if (found.roleArn === undefined && roleArn === undefined) throw new NoRole(roleAlias);
  const isNew = found.certificate !== 'active' || own?.roleAlias !== roleAlias || own.thingName !== thingName;
  return [
    {
      what: `role alias ${roleAlias}`,
      ...(found.roleArn === undefined
        ? { now: 'missing', will: `is made for ${roleArn}` }
        : { now: `is there, for ${found.roleArn}` }),
    },
    {
      what: `IoT policy ${gatewayPolicyName(roleAlias)}`,
      ...(found.policy
        ? { now: 'is there; its text is left as it is' }
        : { now: 'missing', will: 'is made: its certificates may become that role, and nothing else' }),
    },
    {
      what: `certificate of the thing ${thingName}`,
      ...(isNew
        ? { now: 'missing here', will: `is made, with a key that never leaves this machine, in ${certFile}` }
        : {
            now: `is there, in ${certFile}`,
            will: rotate ? 'is replaced by another, and deleted when that works' : undefined,
          }),
    },
  ];
}

class NoRole extends Error {
  readonly cure =
    'name the role that the gateway is to have: --role arn:aws:iam::123456789012:role/NAME. The template in deploy/aws/ makes one, and the alias with it';
  constructor(roleAlias: string) {
    super(`there is no role alias "${roleAlias}" in this region`);
    this.name = 'NoRole';
  }
}

export type AwsSetup = TableSetup & { readonly policy: 'created' | 'exists' } & Readonly<
    Record<UpkeepName, UpkeepOutcome>
  >;

/**
 * Table and policy exist afterwards, and the table has its upkeep where AWS allows that.
 * @returns for each, whether it was made now
 */
export function setUpAws(settings: Settings, tableOptions: TableSetupOptions = {}): Promise<AwsSetup> {
  return withAws(settings, 'setup', async ({ table, upkeep, iot }) => {
    const [made, policy] = await Promise.all([
      ensureTable(table, tableOptions),
      ensurePolicy(iot, settings.policyName),
    ]);
    return { ...made, policy, ...(await ensureUpkeep(upkeep)) };
  });
}

/** The gateway has a role alias, and a certificate that gives credentials, afterwards. @returns whether a certificate was made now */
export function setUpGateway(settings: Settings, wish: GatewayWish, log: Log): Promise<'created' | 'exists'> {
  return withAws(settings, 'identity', async ({ iot }) => {
    const steps = await planGateway(settings, wish, iot);
    const { thingName, roleAlias, roleArn, port } = wish;
    await ensureGateway(iot, { thingName, roleAlias }, roleArn);
    if (steps.at(-1)?.will === undefined) return 'exists';
    const { gatewayCertificate, rootCaFile, proxy } = settings;
    await renewIdentity({ iot, log, thingName, roleAlias, port, gatewayCertificate, rootCaFile, proxy });
    return 'created';
  });
}

type Calls = { readonly table: DynamoTable; readonly upkeep: TableUpkeep; readonly iot: IotCalls };

async function withAws<T>(settings: Settings, role: IamRole, work: (calls: Calls) => Promise<T>): Promise<T> {
  const connections = createAwsConnections({ proxy: settings.proxy });
  const options = { ...settings.aws, role, connections } as const;
  const [dynamo, iot] = [connectDynamoDb(options), connectIotClients(options)];
  const gate = createAwsGate({ table: settings.table, region: iot.region });
  try {
    const table = openDynamoTable(dynamo, settings.table, gate);
    return await work({ table, upkeep: openTableUpkeep(dynamo, settings.table, gate), iot: openIot(iot, gate) });
  } finally {
    dynamo.destroy();
    iot.close();
  }
}
