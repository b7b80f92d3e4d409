import { refuse } from './errors.ts';

/** Where the stand-in is. The ARNs of its resources name all three. */
export type Place = { readonly partition: string; readonly region: string; readonly accountId: string };

/** @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html */
export function placeOf(region: string, accountId: string): Place {
  const partition = region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
  return { partition, region, accountId };
}

export function arnIn({ partition, region, accountId }: Place, resource: string): string {
  return `arn:${partition}:iot:${region}:${accountId}:${resource}`;
}

/** What the last part of an ARN must look like. */
const names = {
  cert: /^[a-f0-9]{64}$/,
  thing: /^[a-zA-Z0-9:_-]{1,128}$/,
  thinggroup: /^[a-zA-Z0-9:_-]{1,128}$/,
} as const;

export type ArnKind = keyof typeof names;

/**
 * The resource that an ARN names. AWS documents InvalidRequestException for a target or principal that is none. That it answers the
 * same for another partition, region or account is believed, not known.
 * @throws InvalidRequestException
 */
export function resourceOf(place: Place, arn: string, kinds: readonly ArnKind[]): { kind: ArnKind; name: string } {
  const prefix = arnIn(place, '');
  const [kind = '', ...rest] = arn.startsWith(prefix) ? arn.slice(prefix.length).split('/') : [];
  const name = rest.join('/');
  const found = kinds.find((each) => each === kind);
  if (found !== undefined && names[found].test(name)) return { kind: found, name };
  return refuse(
    'InvalidRequestException',
    `Invalid ARN: ${JSON.stringify(arn)}. It must be ${kinds.map((each) => `${prefix}${each}/…`).join(' or ')}`,
  );
}
