import { findAccess } from '../aws/access.ts';
import { connectDynamoDb, connectServiceQuotas } from '../aws/client.ts';
import { awsErrorName, isDenied, isUnknownOperation } from '../aws/errors.ts';
import { actionsOf, partitionOf } from '../aws/iam-policy.ts';
import { type PermissionTry, type Try, tryPermission } from '../aws/permission-try.ts';
import { readAccountQuotas } from '../issuer/account-quotas.ts';
import { ignoreNotFound } from '../issuer/expected-errors.ts';
import { arnPrefixOf, iotPermissionTries } from '../issuer/permission-tries.ts';
import { forEachBounded } from '../operator/bounded.ts';
import type { DoctorSources, TableFacts } from '../operator/doctor/sources.ts';
import type { Read } from '../operator/status.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { createTableKeyReader } from '../queue/table-key.ts';
import { dynamoPermissionTries } from '../registry/dynamodb/looks.ts';
import { keyAttribute } from '../registry/dynamodb/named-attributes.ts';
import { siteIndex } from '../registry/dynamodb/site-index.ts';
import { openTableUpkeep, type TableUpkeep } from '../registry/dynamodb/upkeep.ts';
import { within } from '../runtime/deadline.ts';
import { errorText } from '../runtime/errors.ts';
import type { Settings } from '../runtime/settings.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import { signingKeyFrom } from '../sealing/signing.ts';
import { gatewayIdIn } from '../site-tls/gateway-key.ts';
import { pinnedTableKey } from '../site-tls/table-key.ts';
import type { App } from './app.ts';
import { connectTable, iotFor, openTableFor } from './aws.ts';
import { isStandInAt, once, problemOf, redisMs } from './doctor-reading.ts';
import { reaches } from './machine.ts';

/** Milliseconds: for AWS to answer at all, and for one call afterwards. */
const [awsMs, callMs] = [5000, 5000];

/** One try of a call, so that the answer is there in time. */
const impatient = { answerMs: callMs, maxAttempts: 1 };

/** The one action that a gateway can do without. */
const cameAlive = 'iot:GetThingConnectivityData';

/** How many permissions are tried at a time. */
const triesAtATime = 6;

export type OfAws = Pick<
  DoctorSources,
  | 'credentials'
  | 'aws'
  | 'tableKeys'
  | 'gateway'
  | 'endpoint'
  | 'policy'
  | 'accountQuotas'
  | 'table'
  | 'backups'
  | 'timeToLive'
  | 'sweptAt'
  | 'permissions'
>;

/** What the checks ask AWS for. Clients are made when the first check asks, and close with the app. */
export function openAwsSources(app: App, connector: RedisConnector | undefined): OfAws {
  const { settings, awsTime, awsConnections: connections, awsCredentials } = app;
  const open = once(async () => connectAws(app));
  const credentials = once(async () => {
    const named =
      settings.awsVariables.length > 0 || settings.aws.credentials !== undefined || awsCredentials !== undefined;
    const found = await findAccess(
      { credentials: awsCredentials, ...settings.aws, connections },
      { waitMs: 3000, named },
    );
    const away = found.away === undefined ? undefined : errorText(found.away);
    return { region: found.region, account: found.account, missing: found.missing, away, named };
  });
  const aws = once(async () => {
    const { table, iot } = await open();
    const answers = await Promise.allSettled([
      within(awsMs, 'DynamoDB', table.restoration.latest()),
      within(awsMs, 'AWS IoT Core', iot.describeEndpoint()),
    ]);
    const failed = answers.find((each) => each.status === 'rejected' && !hasAnswered(each.reason));
    return failed === undefined || failed.status === 'fulfilled'
      ? { value: { offMs: awsTime.offMs() } }
      : problemOf(failed.reason);
  });
  const tableKeys = once(async () => {
    const pinned = pinnedTableKey(settings.dataDir);
    const [inRedis, ofTable] = await Promise.all([
      connector === undefined ? undefined : publishedKey(app, connector),
      'value' in (await aws()) ? open().then(({ table }) => tableKeyOf(table.gateways)) : undefined,
    ]);
    return { value: { inRedis, ofTable, pinned } };
  });
  /** What the identity may not read is no fault: only the doctor needs it. */
  const asked = <T>(read: () => Promise<T>) =>
    once(async (): Promise<Read<T>> => {
      try {
        return { value: await within(callMs, 'AWS', read()) };
      } catch (error) {
        return isDenied(error)
          ? {
              problem: `this identity may not read it (${errorText(error)}); "cvm aws policy --for doctor" prints what it needs`,
            }
          : { problem: errorText(error) };
      }
    });
  return {
    credentials,
    aws,
    tableKeys,
    gateway: once(async () => gatewayFacts(settings, aws, async () => (await open()).table.gateways.known())),
    endpoint: once(async () => {
      const { iot } = await open();
      const { endpointAddress: address = '' } = await within(callMs, 'DescribeEndpoint', iot.describeEndpoint());
      // a stand-in names no port of its own
      if (isStandInAt(settings)) return { value: { address } };
      const { host, port } = hostAndPort(address);
      const problem = await reaches(host, port);
      return { value: { address, ...(problem === undefined ? {} : { problem }) } };
    }),
    policy: asked(
      async () => (await (await open()).looks.iot.getPolicy(settings.policyName).catch(ignoreNotFound))?.policyDocument,
    ),
    accountQuotas: asked(async () => (await open()).looks.quotas()),
    table: asked(async () => tableFacts(await (await open()).looks.table.describe())),
    backups: asked(async () => backupsOf((await open()).looks.more)),
    timeToLive: asked(async () => (await open()).looks.more.timeToLive()),
    sweptAt: asked(async () => (await open()).table.lease.last()),
    permissions: async (service) =>
      tryPermissions(service, await open(), settings.policyName, async () => (await credentials()).account),
  };
}

type Aws = ReturnType<typeof connectAws>;

/** DynamoDB Local knows no such operation. */
async function backupsOf(upkeep: TableUpkeep): Promise<'on' | 'off' | 'none'> {
  try {
    return (await upkeep.backups()) ? 'on' : 'off';
  } catch (error) {
    if (isUnknownOperation(error)) return 'none';
    throw error;
  }
}

/** With the rights of each role, as AWS's records of calls show them. */
function connectAws(app: App) {
  const { settings, awsTime, awsConnections: connections, awsCredentials: credentials } = app;
  const options = {
    credentials,
    ...settings.aws,
    role: 'doctor',
    onDate: awsTime.hear,
    connections,
    ...impatient,
  } as const;
  const client = connectDynamoDb(options);
  const quotas = connectServiceQuotas(options);
  for (const each of [client, quotas])
    app.lifecycle.add({ name: 'AWS client of the doctor', close: async () => each.destroy() });
  const { table, gate } = openTableFor(app, 'doctor', client);
  return {
    table: connectTable(app, 'operator', undefined, impatient),
    iot: iotFor(app, 'gateway', undefined, impatient),
    rows: {
      gateway: openTableFor(app, 'gateway', undefined, impatient).table,
      operator: openTableFor(app, 'operator', undefined, impatient).table,
    },
    looks: {
      iot: iotFor(app, 'doctor', undefined, impatient),
      table,
      more: openTableUpkeep(client, settings.table, gate),
      quotas: () => readAccountQuotas(quotas, gate),
    },
  };
}

/** Whatever it said, AWS answered; refusals of the credentials are none of a call. */
const hasAnswered = (error: unknown): boolean =>
  error instanceof UpstreamRefused &&
  (error.cause as { $metadata?: unknown } | undefined)?.$metadata !== undefined &&
  !/Token|Signature|Skewed|UnrecognizedClient/.test(awsErrorName(error));

async function publishedKey({ log }: App, connector: RedisConnector): Promise<string | undefined> {
  const reader = createTableKeyReader(connector, log.child({}, { level: 'silent' }));
  try {
    // the connection is being made
    return await within(redisMs, 'the key of the table', reader.readWhenTried());
  } catch {
    return undefined;
  } finally {
    void reader.close();
  }
}

async function tableKeyOf(gateways: { findSigningSeed(): Promise<string | undefined> }): Promise<string | undefined> {
  const seed = await within(callMs, 'the key of the table', gateways.findSigningSeed()).catch(() => undefined);
  return seed === undefined ? undefined : signingKeyFrom(Buffer.from(seed, 'hex')).publicKey;
}

async function gatewayFacts(
  { dataDir }: Settings,
  aws: () => Promise<Read<unknown>>,
  known: () => Promise<readonly { readonly id: string; readonly state: 'approved' | 'waiting' }[]>,
): ReturnType<DoctorSources['gateway']> {
  const id = gatewayIdIn(dataDir);
  if (id === undefined) return { value: { id, state: 'unknown' } };
  if (!('value' in (await aws()))) return { problem: 'not known while AWS does not answer' };
  try {
    const found = (await within(callMs, 'the gateways of the table', known())).find((each) => each.id === id);
    return { value: { id, state: found?.state ?? 'unknown' } };
  } catch (error) {
    return { problem: errorText(error) };
  }
}

function tableFacts(found: Awaited<ReturnType<Aws['looks']['table']['describe']>>): TableFacts | undefined {
  if (found === undefined) return undefined;
  const { status, keys, indexes, rows } = found;
  const index = indexes.find(({ name }) => name === siteIndex.name);
  const [key] = keys;
  return {
    status,
    rows,
    keys: keys.map(({ attribute, type }) => `"${attribute}" (${type})`),
    isAssociationTable: keys.length === 1 && key?.attribute === keyAttribute && key.type === 'S',
    index: index === undefined ? 'missing' : index.status === 'ACTIVE' ? 'there' : 'being-built',
  };
}

/** `localhost:8884` of a stand-in; AWS's has no port. */
function hostAndPort(address: string): { host: string; port: number } {
  const [host = '', port = '8883'] = address.split(':');
  return { host, port: Number(port) };
}

async function tryPermissions(
  service: 'iot' | 'dynamodb',
  aws: Aws,
  policyName: string,
  account: () => Promise<string | undefined>,
): Promise<Awaited<ReturnType<DoctorSources['permissions']>>> {
  const prefix = service === 'iot' ? await arnPrefix(aws, policyName, await account()) : undefined;
  const iot = iotPermissionTries(aws.iot, prefix);
  const rows = { gateway: dynamoPermissionTries(aws.rows.gateway), operator: dynamoPermissionTries(aws.rows.operator) };
  const wanted = (['gateway', 'operator'] as const).flatMap((of) =>
    actionsOf(of)
      .filter(
        (action) => action.startsWith(`${service}:`) && (of === 'gateway' || !actionsOf('gateway').includes(action)),
      )
      .map((action) => ({ of, action })),
  );
  const found = new Map<string, PermissionTry>();
  await forEachBounded(wanted, triesAtATime, async ({ of, action }) => {
    const attempt: Try = iot[action] ?? rows[of][action] ?? { untried: 'no call is known that changes nothing' };
    found.set(action, await tryPermission(action, attempt));
  });
  return wanted.flatMap(({ of, action }) => {
    const tried = found.get(action);
    return tried === undefined ? [] : [{ ...tried, of: action === cameAlive ? 'came-alive' : of }];
  });
}

/** As the source of the credentials, a certificate or the policy shows it. */
async function arnPrefix({ iot, looks }: Aws, policyName: string, account?: string): Promise<string | undefined> {
  if (account !== undefined) {
    const region = await iot.region();
    return `arn:${partitionOf(region)}:iot:${region}:${account}:`;
  }
  const [certificates, policy] = await Promise.allSettled([
    within(callMs, 'ListCertificates', iot.listCertificates({ pageSize: 1 })),
    within(callMs, 'GetPolicy', looks.iot.getPolicy(policyName)),
  ]);
  const listed = certificates.status === 'fulfilled' ? certificates.value.certificates?.[0]?.certificateArn : undefined;
  return arnPrefixOf(listed) ?? arnPrefixOf(policy.status === 'fulfilled' ? policy.value.policyArn : undefined);
}
