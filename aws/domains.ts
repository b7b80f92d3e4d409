/** Where calls go: `https://iot.eu-west-1.amazonaws.com`. */
export type AwsEndpoints = { readonly iot: string; readonly dynamoDb: string };

/** The domains of AWS's own endpoints, VPC endpoints included, in all of its partitions. */
const awsDomains = [
  'amazonaws.com',
  'amazonaws.com.cn',
  'amazonaws.eu',
  'api.aws',
  'api.amazonwebservices.com.cn',
  'api.amazonwebservices.eu',
  'c2s.ic.gov',
  'sc2s.sgov.gov',
  'cloud.adc-e.uk',
  'csp.hci.ic.gov',
];

/** Whether AWS itself answers there; if not, a stand-in does. */
export function isAwsEndpoint(url: string): boolean {
  const host = URL.canParse(url) ? new URL(url).hostname : '';
  return awsDomains.some((domain) => host.endsWith(`.${domain}`));
}
