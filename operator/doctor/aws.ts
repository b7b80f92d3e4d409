import type { Read } from '../status.ts';
import { type Check, fail, ok, skipped, type Verdict, warn } from './check.ts';
import type { DoctorSources, SettingsFacts } from './sources.ts';

/** A difference of clocks from which on AWS refuses calls, and one that is worth a look. Milliseconds. */
const [refusedMs, tolerableMs] = [300_000, 30_000];

const ofWorker = { parts: ['worker'] as const, quick: false, atStart: false };

export const awsChecks: readonly Check[] = [
  {
    id: 'aws-credentials',
    title: 'AWS region and credentials',
    finds: 'no region, no credentials, a profile that is in no file, or credentials that cannot be fetched now',
    ...ofWorker,
    async look({ credentials }) {
      const { missing, away, region, account } = await credentials();
      if (missing.length > 0) return missing.map((text) => fail(halves(text)));
      if (away !== undefined)
        return [
          fail({
            seen: `they cannot be fetched now: ${away}`,
            cause: 'the service that issues the credentials does not answer',
            cure: 'check that this machine reaches that service; for a container on EC2, the instance must allow two hops to its metadata service',
          }),
        ];
      return [ok(`there; region ${region}${account === undefined ? '' : `, account ${account}`}`)];
    },
  },
  {
    id: 'aws',
    title: 'AWS',
    finds: 'AWS cannot be reached: network, DNS, proxy, endpoint, or credentials that are not valid',
    ...ofWorker,
    async look({ aws, credentials }) {
      if ((await credentials()).missing.length > 0) return [skipped('there is no region or no credentials')];
      const read = await aws();
      if ('value' in read) return [ok('answers')];
      return [
        fail({
          seen: read.problem,
          cause: 'no certificate can be vended; requests wait',
          cure: read.cure ?? "check the network of this machine, its proxy, and AWS's status page",
        }),
      ];
    },
  },
  {
    id: 'aws-clock',
    title: "clock against AWS's",
    finds: "the clock of this machine differs from the Date of AWS's answers by over 30 s; a failure from five minutes",
    ...ofWorker,
    look: (sources) =>
      withAws(sources, ({ offMs }) => {
        if (offMs === undefined) return skipped('no answer of AWS had a Date');
        const seconds = Math.round(Math.abs(offMs) / 1000);
        if (seconds * 1000 < tolerableMs) return ok('agrees');
        return (seconds * 1000 < refusedMs ? warn : fail)({
          seen: `${seconds} s ${offMs < 0 ? 'behind' : 'ahead of'} that of AWS`,
          cause: 'AWS refuses calls whose time is wrong by five minutes, and certificates begin and end at wrong times',
          cure: 'set the clock, best by NTP',
        });
      }),
  },
  {
    id: 'aws-endpoint',
    title: 'endpoint for devices',
    finds: 'AWS names no ATS endpoint, or it cannot be reached from here (port 8883 or 443 closed)',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.endpoint, ({ address, problem }) => {
        if (!/-ats\.iot\.|^localhost|^127\./.test(address) && !sources.settings.isStandIn)
          return warn({
            seen: `${address} is no ATS endpoint`,
            cause: 'its certificate comes from another CA than Amazon Root CA 1, which devices get from the gateway',
            cure: 'use the default domain of the account, or give its CA to the devices in CVM_ROOT_CA',
          });
        if (sources.settings.isStandIn) return ok(`${address}, of a stand-in for AWS`);
        return problem === undefined
          ? ok(address)
          : warn({
              seen: `${address}: ${problem}`,
              cause: 'devices on this network may not reach it either; the gateway itself does not need it',
              cure: 'where devices use the same network, allow port 8883 (or 443) to it in the firewall',
            });
      }),
  },
  {
    id: 'iot-policy',
    title: 'IoT policy',
    finds:
      'there is no policy of the name CVM_POLICY_NAME; or the policy lets a device use the topics of others, or does not let it connect',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.policy, (document) => {
        const { policyName } = sources.settings;
        if (document === undefined)
          return fail({
            seen: `there is no IoT policy "${policyName}" in this region`,
            cause: 'no device can be vended a certificate',
            cure: 'create it with "cvm aws setup", or correct CVM_POLICY_NAME',
          });
        return judgePolicy(document);
      }),
  },
  {
    id: 'account-quotas',
    title: 'quotas of the account',
    finds:
      'CVM_QUOTAS says more than Service Quotas allows the account; or less, so that devices wait longer than they must',
    ...ofWorker,
    async look(sources) {
      if (sources.settings.quotasOff) return [skipped('CVM_QUOTAS is off')];
      return ofAws(sources, sources.accountQuotas, (account) => judgeQuotas(account, sources.settings));
    },
  },
];

/** What the gateway goes by, against what AWS allows the account. Less is no fault: another tool may need the rest. */
function judgeQuotas(account: Readonly<Record<string, number>>, { quotas }: SettingsFacts): Verdict {
  const compared = quotas.map((each) => ({ ...each, allowed: account[each.operation] ?? each.byDefault }));
  const over = compared.filter(({ perSecond, allowed }) => perSecond > allowed);
  const under = compared.filter(({ perSecond, allowed }) => perSecond < allowed);
  const told = (some: typeof compared) =>
    some.map(({ operation, perSecond, allowed }) => `${operation} ${perSecond} of ${allowed}`).join(', ');
  const written = (some: typeof compared) => some.map(({ operation, allowed }) => `${operation}=${allowed}`).join(',');
  if (over.length > 0)
    return warn({
      seen: `the gateway goes by more calls a second than AWS allows the account: ${told(over)}`,
      cause: 'AWS throttles what is above, and each throttled call costs time',
      cure: `in CVM_QUOTAS, write ${written(over)} beside what else stands there, and restart the workers; or ask AWS for more (Service Quotas, AWS IoT Core)`,
    });
  if (under.length > 0)
    return ok(
      `AWS allows the account more than the gateway goes by: ${told(under)} calls a second. To serve devices faster, write ${written(under)} in CVM_QUOTAS beside what else stands there, unless other tools need the rest`,
    );
  return ok(`AWS allows the account what the gateway goes by: ${written(compared)} calls a second`);
}

/** Where AWS answers, what it said of itself; otherwise why not. */
export async function withAws(
  { aws, credentials }: DoctorSources,
  judge: (of: { readonly offMs: number | undefined }) => Verdict | Promise<Verdict>,
): Promise<Verdict[]> {
  if ((await credentials()).missing.length > 0) return [skipped('there is no region or no credentials')];
  const read = await aws();
  return ['value' in read ? await judge(read.value) : skipped('not known while AWS does not answer')];
}

/** The same for something that AWS is asked for. Without a cure, it could only not be looked at. */
export const ofAws = <T>(
  sources: DoctorSources,
  ask: () => Promise<Read<T>>,
  judge: (of: T) => Verdict,
): Promise<Verdict[]> =>
  withAws(sources, async () => {
    const read = await ask();
    if ('value' in read) return judge(read.value);
    return read.cure === undefined ? skipped(read.problem) : fail({ seen: read.problem, cure: read.cure });
  });

/** `what is: what to do` */
function halves(text: string): { seen: string; cure: string } {
  const at = text.indexOf(': ');
  return at < 0 ? { seen: text, cure: text } : { seen: text.slice(0, at), cure: text.slice(at + 2) };
}

type Statement = { Effect?: string; Action?: string | string[]; Resource?: string | string[]; Condition?: object };

const list = (value: string | string[] | undefined): string[] => (Array.isArray(value) ? value : [value ?? '']);

/** What is wrong with a policy that all devices share. @see https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html */
export function judgePolicy(document: string): Verdict {
  const cure =
    'compare it with the one that "cvm aws setup" makes in an account without one (docs/aws.md), and make a new version of it';
  let statements: Statement[];
  try {
    const { Statement = [] } = JSON.parse(document) as { Statement?: Statement | Statement[] };
    statements = [Statement].flat();
  } catch {
    return fail({ seen: 'its document is no JSON', cause: 'with this policy no device can connect to AWS', cure });
  }
  const allowed = statements.filter(({ Effect }) => Effect === 'Allow');
  const actions = new Set(allowed.flatMap(({ Action }) => list(Action)));
  const has = (action: string) => ['*', 'iot:*', action].some((each) => actions.has(each));
  const lacking = ['iot:Connect', 'iot:Publish', 'iot:Subscribe', 'iot:Receive'].filter((action) => !has(action));
  if (lacking.includes('iot:Connect'))
    return fail({ seen: 'it does not allow iot:Connect', cause: 'no device can connect with its certificate', cure });
  const broad = allowed.filter(
    ({ Resource, Condition }) =>
      Condition === undefined &&
      list(Resource).some((each) => each === '*' || (/[:/]\*$/.test(each) && !each.includes('${'))),
  );
  const [first] = broad;
  if (first !== undefined)
    return fail({
      seen: `it allows ${list(first.Action).join(', ')} on ${list(first.Resource).join(', ')}`,
      cause: 'each device can act in the name of every other device',
      cure,
    });
  return lacking.length > 0
    ? warn({ seen: `it does not allow ${lacking.join(', ')}`, cause: 'devices cannot use their topics', cure })
    : ok('there, and lets a device use its own topics only');
}
