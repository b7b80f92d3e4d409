import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type AwsEndpoints, isAwsEndpoint } from '../aws/domains.ts';
import { isAmazonRoot } from '../issuer/root-ca.ts';
import { namesCredentials, type Settings } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';

/** What tells an AWS account from a stand-in, as far as it is known. An endpoint that is absent is AWS's own. */
export type AwsClues = {
  readonly endpoints: Partial<AwsEndpoints>;
  readonly accessKeyId?: string | undefined;
  /** CVM_ROOT_CA */
  readonly rootCaFile?: string | undefined;
  /** a profile and a key are both named by the environment */
  readonly twoSources?: boolean;
};

/** What the settings alone tell. */
export function cluesOf({ awsEnvironment, rootCaFile }: Settings): AwsClues {
  const { iotEndpoint: iot, dynamoDbEndpoint: dynamoDb, accessKeyId, profile } = awsEnvironment;
  const endpoints = { ...(iot === undefined ? {} : { iot }), ...(dynamoDb === undefined ? {} : { dynamoDb }) };
  return { endpoints, accessKeyId, rootCaFile, twoSources: accessKeyId !== undefined && profile !== undefined };
}

/** AWS's access key ids have 16 to 128 characters; a stand-in takes any. @see https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html */
const accessKeyIdOfAws = /^\w{16,128}$/;

/**
 * What does not fit together: a part of it is for an AWS account, and another part for a stand-in. Devices would get
 * certificates, an endpoint and a root CA that do not belong together, or the wrong account would vend. One sentence each.
 */
export function mixedAws({ endpoints, accessKeyId, rootCaFile, twoSources }: AwsClues): string[] {
  const { iot, dynamoDb } = endpoints;
  const [iotOfAws, dynamoDbOfAws] = [iot, dynamoDb].map((url) => url === undefined || isAwsEndpoint(url));
  const problems: string[] = [];
  if (iotOfAws !== dynamoDbOfAws)
    problems.push(
      `AWS_ENDPOINT_URL_IOT, AWS_ENDPOINT_URL_DYNAMODB: IoT Core is called at ${iot ?? "AWS's own endpoint"} and DynamoDB at ${dynamoDb ?? "AWS's own endpoint"}, and only one of them is AWS: set both for a stand-in, or unset both for AWS`,
    );
  if (twoSources)
    problems.push(
      'AWS_PROFILE, AWS_ACCESS_KEY_ID: both name credentials, perhaps of two accounts: unset one of the two',
    );
  if (!iotOfAws && !dynamoDbOfAws) return problems;
  if (accessKeyId !== undefined && !accessKeyIdOfAws.test(accessKeyId))
    problems.push(
      `AWS_ACCESS_KEY_ID: "${accessKeyId.slice(0, 16)}" is no access key id of AWS, and AWS is called: unset it and AWS_SECRET_ACCESS_KEY, or set those of your account`,
    );
  if (rootCaFile !== undefined && iotOfAws && isAmazonRoot(rootCaFile) === false)
    problems.push(
      `CVM_ROOT_CA: ${rootCaFile} is no root CA of Amazon, and devices would verify AWS IoT Core with it: unset it`,
    );
  return problems;
}

/**
 * The SDK says of a profile that is in none of its files only that there are no credentials, or no region. A file that cannot be
 * read may have it.
 */
export function absentProfile({
  awsEnvironment: { profile, profileFiles },
}: Pick<Settings, 'awsEnvironment'>): string[] {
  if (profile === undefined || profile === 'default') return [];
  const files = [
    profileFiles?.config ?? join(homedir(), '.aws', 'config'),
    profileFiles?.credentials ?? join(homedir(), '.aws', 'credentials'),
  ];
  if (!files.map(profilesIn).every((names) => names?.includes(profile) === false)) return [];
  return [
    `AWS_PROFILE: there is no profile "${profile}" in ${files.join(' or ')}: correct the name, or make the profile ("aws configure list-profiles" shows those that there are)`,
  ];
}

/** @returns undefined when the file cannot be read */
function profilesIn(file: string): string[] | undefined {
  try {
    const sections = readFileSync(file, 'utf8').matchAll(/^\s*\[\s*(?:profile\s+)?(["']?)(.+?)\1\s*\]/gm);
    return [...sections].map(([, , name = '']) => name);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? [] : undefined;
  }
}

/** A service gets its credentials from one source. A command goes by what its user names for it. */
export function twoCredentials({
  roleAlias,
  awsEnvironment,
}: Pick<Settings, 'roleAlias' | 'awsEnvironment'>): string[] {
  if (roleAlias === undefined || !namesCredentials(awsEnvironment)) return [];
  const other = awsEnvironment.profile === undefined ? 'AWS_ACCESS_KEY_ID' : 'AWS_PROFILE';
  return [`CVM_ROLE_ALIAS, ${other}: both name credentials, perhaps of two accounts: unset one of the two`];
}

/** @throws SettingsError with all of `mixedAws` and `absentProfile` at once */
export function refuseMixedAws(settings: Settings): void {
  const problems = [...absentProfile(settings), ...mixedAws(cluesOf(settings))];
  if (problems.length > 0) throw new SettingsError(problems);
}

/** What a person must see first: whose certificates are vended. */
export type AwsInUse = {
  readonly account: string;
  readonly region: string;
  readonly iot: string;
  readonly dynamoDb: string;
};

export function awsInUse(
  account: string | undefined,
  region: string | undefined,
  endpoints: Partial<AwsEndpoints>,
): AwsInUse {
  const { iot = "AWS's own", dynamoDb = "AWS's own" } = endpoints;
  const isAws = isAwsEndpoint(iot) || iot === "AWS's own";
  return {
    account: isAws ? (account ?? 'as the credentials say') : 'none, a stand-in',
    region: region ?? 'as the AWS profile says',
    iot,
    dynamoDb,
  };
}

/** As far as the settings alone tell: for a command, which does not wait for the source of the credentials. */
export function namedAws(settings: Settings): AwsInUse {
  const { region, endpoint } = settings.aws;
  const endpoints = endpoint === undefined ? cluesOf(settings).endpoints : { iot: endpoint, dynamoDb: endpoint };
  return awsInUse(undefined, region, endpoints);
}

/** The same as a sentence. */
export function sentenceOf({ account, region, iot, dynamoDb }: AwsInUse): string {
  return `AWS account: ${account}; region: ${region}; IoT Core at ${iot}; DynamoDB at ${dynamoDb}`;
}
