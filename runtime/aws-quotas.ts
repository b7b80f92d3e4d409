import { nearestName } from './nearest-name.ts';

/** Calls a second that an account may make in one region, by operation of AWS IoT Core. An operation without an entry has no limit here. */
export type AwsQuotas = Readonly<Record<string, number>>;

/**
 * AWS's defaults. The stand-in keeps to them, and the gateway starts from them.
 * @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html
 */
export const defaultAwsQuotas: AwsQuotas = {
  AddThingToThingGroup: 100,
  AttachPolicy: 15,
  AttachThingPrincipal: 100,
  CreateCertificateFromCsr: 15,
  CreateKeysAndCertificate: 10,
  CreatePolicy: 10,
  CreatePolicyVersion: 10,
  CreateThing: 100,
  DeleteCertificate: 10,
  DeleteThing: 100,
  DescribeCertificate: 10,
  DescribeThing: 350,
  // not published where we looked: as low as its neighbours, since nothing waits for it
  GetThingConnectivityData: 10,
  DetachPolicy: 15,
  DetachThingPrincipal: 100,
  ListAttachedPolicies: 15,
  ListCertificates: 10,
  ListPrincipalThings: 10,
  ListThingPrincipals: 10,
  RegisterThing: 10,
  UpdateCertificate: 10,
  UpdateThing: 100,
};

/**
 * The codes by which Service Quotas names those that bound how many devices a second are vended; its service is `iotcore`. The numbers
 * that an account has stand there.
 * @see https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
 */
export const quotaCodes: Readonly<Record<string, string>> = {
  AttachPolicy: 'L-CA7D4E3E',
  AttachThingPrincipal: 'L-F64D1AA6',
  CreateCertificateFromCsr: 'L-01BCDDCA',
  CreateKeysAndCertificate: 'L-40B55430',
  CreateThing: 'L-64CBACAC',
  UpdateCertificate: 'L-77B523DC',
};

/** `off`: no limit at all, for load tests. */
export function awsQuotasOf(quotas: 'default' | 'off' | AwsQuotas): AwsQuotas {
  if (quotas === 'off') return {};
  return quotas === 'default' ? defaultAwsQuotas : { ...defaultAwsQuotas, ...quotas };
}

const highestQuota = 10_000;

/**
 * `UpdateCertificate=20,AttachPolicy=30` in place of some defaults.
 * @returns all quotas, and what is wrong with the text: one sentence each
 */
export function readAwsQuotas(text: string): { readonly quotas: AwsQuotas; readonly problems: readonly string[] } {
  const given = text
    .split(/[\s,;]+/)
    .filter((entry) => entry !== '')
    .map(readEntry);
  const names = given.map(({ name }) => name);
  const twice = [...new Set(names.filter((name, index) => names.indexOf(name) !== index))];
  const problems = [
    ...given.flatMap(({ problem }) => problem ?? []),
    ...twice.map((name) => `${name} is there twice; name each operation once`),
  ];
  return {
    quotas: { ...defaultAwsQuotas, ...Object.fromEntries(given.map(({ name, rate }) => [name, rate])) },
    problems,
  };
}

function readEntry(entry: string): { name: string; rate: number; problem?: string } {
  const [given = '', number = '', ...more] = entry.split('=');
  const name = given.replace(/^iot:/, '');
  const rate = /^\d+(\.\d+)?$/.test(number) ? Number(number) : Number.NaN;
  if (more.length > 0 || given === '' || number === '')
    return {
      name,
      rate,
      problem: `"${entry}" is no quota; write an operation and its calls a second, as in UpdateCertificate=20`,
    };
  if (!Object.hasOwn(defaultAwsQuotas, name)) return { name, rate, problem: unknownOperation(name) };
  if (rate > 0 && rate <= highestQuota) return { name, rate };
  return {
    name,
    rate,
    problem: `"${entry}": "${number}" is not a number of calls a second; write one above 0, up to ${highestQuota}, as Service Quotas shows it`,
  };
}

function unknownOperation(name: string): string {
  const known = Object.keys(defaultAwsQuotas);
  const upper = nearestName(
    name,
    known.map((each) => each.toUpperCase()),
  );
  const nearest = known.find((each) => each.toUpperCase() === upper);
  const cure = nearest === undefined ? `known are ${known.join(', ')}` : `perhaps ${nearest} is meant`;
  return `there is no quota for "${name}": ${cure}`;
}
