import { createHash, createHmac } from 'node:crypto';
import type { IoTClient } from '@aws-sdk/client-iot';

type SdkSigner = IoTClient['config']['signer'];
type RequestSigner = Awaited<ReturnType<SdkSigner>>;
type HttpRequest = Parameters<RequestSigner['sign']>[0];
type Credentials = Awaited<ReturnType<IoTClient['config']['credentials']>>;

/** What the signer is to know of its client. `service`: the name that AWS gives it in a signature. */
export type SigningConfig = {
  readonly service: string;
  credentials(): Promise<Credentials>;
  region(): Promise<string>;
};

/**
 * Signature Version 4 of requests whose body is text, byte for byte as the SDK makes it. The SDK makes a signer anew for each call and hashes
 * in steps that await each other, which took a sixth of a call's CPU.
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function createSigner({ service, credentials, region }: SigningConfig): SdkSigner {
  const keys = createSigningKeys();
  return async (scheme) => ({
    async sign(request, { signingDate, signingRegion, signingService } = {}) {
      const account = await credentials();
      const place = {
        region: signingRegion ?? scheme?.signingRegion ?? (await region()),
        service: signingService ?? scheme?.signingName ?? service,
      };
      return signed(request, new Date(signingDate ?? Date.now()), account, place, keys);
    },
  });
}

type Place = { readonly region: string; readonly service: string };
type SigningKeys = ReturnType<typeof createSigningKeys>;

function signed(request: HttpRequest, date: Date, account: Credentials, place: Place, keys: SigningKeys): HttpRequest {
  const time = date.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = time.slice(0, 8);
  const scope = `${day}/${place.region}/${place.service}/aws4_request`;
  const bodyHash = sha256(request.body ?? '');
  // of an earlier try
  const { authorization: _signed, 'x-amz-security-token': _token, ...own } = request.headers;
  const headers: Record<string, string> = { ...own, 'x-amz-date': time, 'x-amz-content-sha256': bodyHash };
  if (account.sessionToken !== undefined) headers['x-amz-security-token'] = account.sessionToken;

  // proxies may change the name of the agent
  const names = Object.keys(headers).filter((name) => name !== 'user-agent');
  names.sort();
  const signedNames = names.join(';');
  const lines = names.map((name) => `${name}:${oneLine(headers[name] ?? '')}\n`).join('');
  const canonical = `${request.method}\n${canonicalPath(request.path)}\n${canonicalQuery(request.query)}\n${lines}\n${signedNames}\n${bodyHash}`;
  const toSign = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${sha256(canonical)}`;
  const signature = createHmac('sha256', keys.of(account, day, place))
    .update(toSign)
    .digest('hex');
  headers.authorization = `AWS4-HMAC-SHA256 Credential=${account.accessKeyId}/${scope}, SignedHeaders=${signedNames}, Signature=${signature}`;
  request.headers = headers;
  return request;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const oneLine = (value: string): string =>
  /[\r\n\t]| {2}|^ | $/.test(value) ? value.replace(/\s+/g, ' ').trim() : value;

/** RFC 3986, which has four characters less than JavaScript. */
const escaped = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`);

/** AWS escapes the segments of the path as it was sent once more, without those that lead nowhere. */
function canonicalPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(escaped(segment));
  }
  const end = path.endsWith('/') && segments.length > 0 ? '/' : '';
  return `/${segments.join('/')}${end}`;
}

function canonicalQuery(query: HttpRequest['query'] = {}): string {
  return Object.keys(query)
    .map((name) => [escaped(name), query[name]] as const)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .flatMap(([name, value]) => {
      if (typeof value === 'string') return [`${name}=${escaped(value)}`];
      return (value ?? []).map((each) => `${name}=${escaped(each)}`).sort();
    })
    .join('&');
}

/** The key of the day, for the credentials that were used last. */
function createSigningKeys() {
  let last: { readonly for: readonly string[]; readonly key: Buffer } | undefined;
  return {
    of({ secretAccessKey }: Credentials, day: string, { region, service }: Place): Buffer {
      const wanted = [secretAccessKey, day, region, service];
      if (last === undefined || !wanted.every((part, index) => part === last?.for[index])) {
        const [secret = '', ...parts] = wanted;
        let key = Buffer.from(`AWS4${secret}`);
        for (const part of [...parts, 'aws4_request']) key = createHmac('sha256', key).update(part).digest();
        last = { for: wanted, key };
      }
      return last.key;
    },
  };
}
