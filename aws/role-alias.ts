import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { type Agent, request as openRequest } from 'node:https';
import { rootCertificates } from 'node:tls';
import type { ProxyOptions } from './connections.ts';
import { type GatewayIdentity, readGatewayIdentity } from './gateway-identity.ts';
import { ProxyError } from './proxy-error.ts';

/** How a gateway without AWS keys gets its credentials: by its own certificate of AWS IoT. */
export type RoleAlias = {
  readonly name: string;
  /** PEM files. They are read at each renewal, so that a certificate can be rotated without a restart */
  readonly certFile: string;
  readonly keyFile: string;
  /** host name of the credentials provider, with a port where that is not 443; undefined: the one that lies beside the certificate */
  readonly endpoint?: string | undefined;
  /** a CA besides those that Node.js knows: that of a stand-in */
  readonly rootCaFile?: string | undefined;
};

/** Credentials as the SDK takes them. @see https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html */
export type TemporaryCredentials = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
};

/**
 * There are no credentials by the role alias. The name is that of the SDK's own error, so it is judged like one of its chain. `lasts`: until
 * a person changes something.
 */
export class RoleAliasError extends Error {
  readonly cure: string;
  readonly lasts: boolean;
  constructor(message: string, cure: string, { lasts, cause }: { readonly lasts: boolean; readonly cause?: unknown }) {
    super(message, { cause });
    this.name = 'CredentialsProviderError';
    this.cure = cure;
    this.lasts = lasts;
  }
}

/** One request, in milliseconds: a name that cannot be resolved or a silent network must not hold up a call for longer. */
const deadlineMs = 10_000;

/**
 * The SDK asks anew from five minutes before the end on. From then on a renewal is under way, and until one minute before the end no call
 * waits for it. A renewal that failed is tried again after `retryMs`, however many calls ask.
 */
const [renewMs, lastMs, retryMs] = [10 * 60_000, 60_000, 3000];

type Deps = {
  /** gets new credentials; the product asks AWS */
  fetch?(source: RoleAlias): Promise<TemporaryCredentials>;
  readonly proxy?: ProxyOptions;
  /** epoch milliseconds */
  now?(): number;
  /** milliseconds of a clock that only goes forward */
  elapsed?(): number;
  /** a renewal failed, and the credentials that are held last for some time yet */
  onLate?(error: unknown, expiration: Date): void;
};

/**
 * A source of credentials for the SDK's clients. All clients of a process share one: they renew together, by one request.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html
 */
export function createRoleAliasCredentials(source: RoleAlias, deps: Deps = {}): () => Promise<TemporaryCredentials> {
  const { proxy = {}, now = Date.now, elapsed = () => performance.now(), onLate = () => {} } = deps;
  const { fetch = (of) => fetchCredentials(of, proxy) } = deps;
  let held: TemporaryCredentials | undefined;
  let renewal: Promise<TemporaryCredentials> | undefined;
  let failed: { readonly error: unknown; readonly at: number } | undefined;

  async function renew(): Promise<TemporaryCredentials> {
    try {
      held = await fetch(source);
      failed = undefined;
      return held;
    } catch (error) {
      failed = { error, at: elapsed() };
      if (held !== undefined && held.expiration.getTime() > now()) onLate(error, held.expiration);
      throw error;
    } finally {
      renewal = undefined;
    }
  }

  return async () => {
    const leftMs = (held?.expiration.getTime() ?? 0) - now();
    if (held !== undefined && leftMs > renewMs) return held;
    if (failed === undefined || elapsed() - failed.at >= retryMs) renewal ??= renew();
    renewal?.catch(() => {});
    // the last minute waits for new ones: a call may take as long to reach AWS
    if (held !== undefined && leftMs > lastMs) return held;
    if (renewal !== undefined) return renewal.catch((error: unknown) => stillGood(held, now(), error));
    return stillGood(held, now(), failed?.error);
  };
}

function stillGood(held: TemporaryCredentials | undefined, at: number, error: unknown): TemporaryCredentials {
  if (held !== undefined && held.expiration.getTime() > at) return held;
  throw error;
}

/**
 * Asks the account's credentials provider once.
 * @throws RoleAliasError
 */
export async function fetchCredentials(source: RoleAlias, proxy: ProxyOptions = {}): Promise<TemporaryCredentials> {
  const identity = readGatewayIdentity(source.certFile);
  const endpoint = source.endpoint ?? identity?.endpoint;
  if (endpoint === undefined)
    throw new RoleAliasError(
      `the address of the credentials provider is not known: ${source.certFile} has no gateway.json beside it`,
      'set CVM_ROLE_ALIAS_ENDPOINT ("aws iot describe-endpoint --endpoint-type iot:CredentialProvider" prints it), or run "cvm aws setup --gateway"',
      { lasts: true },
    );
  const url = new URL(`https://${endpoint}/role-aliases/${encodeURIComponent(source.name)}/credentials`);
  const [cert, key] = [readPem(source.certFile), readPem(source.keyFile)];
  const ca = source.rootCaFile === undefined ? undefined : [...rootCertificates, readPem(source.rootCaFile)];
  // one request in an hour: no connection is kept for it
  const { createAgents } = await import('./proxy.ts');
  const { httpsAgent, pools } = createAgents({ keepAlive: false, maxSockets: 1 }, proxy, url.origin);
  try {
    const { status, body } = await get(url, { ...{ cert, key, ca, identity }, agent: httpsAgent as Agent });
    if (status === 200) return credentialsIn(body, url.host);
    throw refusal(status, body, { source, identity, host: url.host });
  } catch (error) {
    throw error instanceof RoleAliasError ? error : unreached(error, source, url.host);
  } finally {
    for (const pool of pools) pool.destroy();
  }
}

function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    const cure =
      code === 'ENOENT'
        ? 'run "cvm aws setup --gateway", which makes it, or correct CVM_ROLE_ALIAS_CERT and CVM_ROLE_ALIAS_KEY'
        : `let this user (uid ${process.getuid?.()}) read it: chown, or chmod 640 with a group of this user`;
    throw new RoleAliasError(
      `the gateway's own certificate for AWS cannot be read: ${file}: ${code || message}`,
      cure,
      {
        lasts: true,
        cause,
      },
    );
  }
}

type Question = {
  readonly cert: string;
  readonly key: string;
  readonly ca: readonly string[] | undefined;
  readonly identity: GatewayIdentity | undefined;
  readonly agent: Agent;
};

const maxBodyBytes = 64 * 1024;

function get(url: URL, { cert, key, ca, identity, agent }: Question): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = identity === undefined ? {} : { 'x-amzn-iot-thingname': identity.thingName };
    const signal = AbortSignal.timeout(deadlineMs);
    const trusted = ca === undefined ? {} : { ca: [...ca] };
    const request = openRequest(url, { ...{ cert, key, agent, headers, signal }, ...trusted }, (response) =>
      bodyOf(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject),
    );
    request.on('error', reject).end();
  });
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new Error(`the answer is longer than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** No text of an error has the answer: it holds a secret. */
function credentialsIn(body: string, host: string): TemporaryCredentials {
  const { credentials } = parsed(body) as { credentials?: Record<string, unknown> };
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = credentials ?? {};
  const end = new Date(String(expiration));
  if (![accessKeyId, secretAccessKey, sessionToken].every((part) => typeof part === 'string' && part !== ''))
    throw foreign(host);
  if (Number.isNaN(end.getTime())) throw foreign(host);
  return { accessKeyId, secretAccessKey, sessionToken, expiration: end } as TemporaryCredentials;
}

const foreign = (host: string) =>
  new RoleAliasError(
    `${host} answered with something that is no credentials of AWS`,
    'correct CVM_ROLE_ALIAS_ENDPOINT; where a proxy inspects TLS, let it pass this host through unread, since it cannot show the certificate of the gateway',
    { lasts: true },
  );

function parsed(body: string): object {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

type Asked = { readonly source: RoleAlias; readonly identity: GatewayIdentity | undefined; readonly host: string };

/** The answers of AWS, which differ by their texts alone, as the notes of its session helper for Python list them. */
const refusals: readonly (readonly [said: RegExp, cure: (asked: Asked) => string])[] = [
  [
    /certificate is invalid/i,
    ({ source: { certFile }, host }) =>
      `the certificate in ${certFile} is not registered and ACTIVE in the account and region of ${host}: activate it in AWS IoT Core, or make another with "cvm aws setup --gateway"`,
  ],
  [
    /invalid thing name/i,
    ({ identity }) =>
      `attach the certificate to the thing ${identity?.thingName ?? 'of the gateway'} in AWS IoT Core; "cvm aws setup --gateway" does it`,
  ],
  [
    /role alias does not exist/i,
    ({ source: { name } }) =>
      `there is no role alias "${name}" in this region: correct CVM_ROLE_ALIAS, or make it with deploy/aws/ or "cvm aws setup --gateway --role ARN"`,
  ],
  [
    /unable to assume the role/i,
    ({ source: { name } }) =>
      `the role of the alias "${name}" does not exist, or its trust policy does not name the service credentials.iot.amazonaws.com: deploy/aws/ has such a role`,
  ],
  [
    /exceeds the maxsessionduration/i,
    ({ source: { name } }) =>
      `the alias "${name}" wants longer credentials than its role allows: lower its duration, or raise MaxSessionDuration of the role`,
  ],
  [
    /access denied/i,
    ({ source: { name } }) =>
      `the IoT policy of the gateway's certificate must allow iot:AssumeRoleWithCertificate on the role alias "${name}"; "cvm aws setup --gateway" makes and attaches one`,
  ],
];

function refusal(status: number, body: string, asked: Asked): RoleAliasError {
  const { message } = parsed(body) as { message?: unknown };
  const said = typeof message === 'string' ? message.slice(0, 200) : '';
  const text = `AWS gives no credentials by the role alias "${asked.source.name}" (HTTP ${status}): ${said || 'no reason given'}`;
  const known = refusals.find(([pattern]) => pattern.test(said))?.[1];
  if (known !== undefined) return new RoleAliasError(text, known(asked), { lasts: true });
  const passes = status === 429 || status >= 500;
  return new RoleAliasError(
    text,
    passes
      ? "this may pass by itself; AWS's status page says more"
      : 'compare certificate, thing, policy and role alias with docs/aws.md',
    { lasts: !passes },
  );
}

const tlsCodes = /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT_ALTNAME)/;
const ownFileCodes = /^ERR_(OSSL_|CRYPTO_)/;

function unreached(cause: unknown, source: RoleAlias, host: string): RoleAliasError {
  const { message, name, code = '' } = cause as NodeJS.ErrnoException;
  if (cause instanceof ProxyError) return new RoleAliasError(message, cause.cure, { lasts: cause.lasts, cause });
  const late = name === 'TimeoutError' || code === 'ABORT_ERR';
  const text = late
    ? `the credentials provider ${host} did not answer within ${deadlineMs / 1000} s`
    : `the credentials provider ${host} cannot be asked: ${message}`;
  if (tlsCodes.test(code))
    return new RoleAliasError(
      text,
      'the name in CVM_ROLE_ALIAS_ENDPOINT is wrong, or something between here and AWS inspects TLS: let it pass this host through unread, since it cannot show the certificate of the gateway',
      { lasts: true, cause },
    );
  if (ownFileCodes.test(code))
    return new RoleAliasError(
      text,
      `${source.certFile} and ${source.keyFile} must be a certificate and its private key in PEM, and belong together: restore them from a backup, or make others with "cvm aws setup --gateway"`,
      { lasts: true, cause },
    );
  return new RoleAliasError(
    text,
    `check network, DNS and proxy of this machine: ${host} must be reachable on its port, directly or through HTTPS_PROXY`,
    { lasts: false, cause },
  );
}
