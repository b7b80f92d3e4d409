import { type ClientRequest, Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { SettingsError } from '../runtime/settings-error.ts';
import type { ProxyOptions } from './connections.ts';
import { createBypass } from './no-proxy.ts';
import { ProxyError } from './proxy-error.ts';

/** A proxy that has not made a way by then is away. The SDK gives a connection five seconds in all. Milliseconds. */
const tunnelMs = 4000;

type AgentOptions = { readonly keepAlive: boolean; readonly maxSockets: number };

/** The agents of one client: `httpAgent` and `httpsAgent` are the SDK's, `pools` have the connections that are kept. */
export type Agents = {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpAgent;
  readonly pools: readonly HttpAgent[];
};

/**
 * @param endpoint the one address that the client calls, where it is set. One that needs no proxy, as the stand-in's, also needs no
 * proxy that can be used
 * @throws SettingsError when a proxy cannot be used
 */
export function createAgents(options: AgentOptions, proxies: ProxyOptions = {}, endpoint?: string): Agents {
  const direct = { http: new HttpAgent(options), https: new HttpsAgent(options) };
  const needsNone = endpoint !== undefined && bypassesProxy(endpoint, proxies);
  const agentFor = (kind: 'http' | 'https', setting: string, text: string | undefined) => {
    if (text === undefined || needsNone) return direct[kind];
    const proxy = readProxy(setting, text);
    return new TunnelAgent({ proxy, setting, secure: kind === 'https', direct: direct[kind], options, ...proxies });
  };
  const httpAgent = agentFor('http', 'HTTP_PROXY', proxies.http);
  const httpsAgent = agentFor('https', 'HTTPS_PROXY', proxies.https);
  return { httpAgent, httpsAgent, pools: [...new Set([httpAgent, httpsAgent, direct.http, direct.https])] };
}

function bypassesProxy(endpoint: string, { except = '' }: ProxyOptions): boolean {
  const { hostname, port, protocol } = new URL(endpoint);
  return createBypass(except)(hostname, Number(port) || (protocol === 'https:' ? 443 : 80));
}

/** `proxy:3128` is understood, as curl does. No text of an error has the address, which may hold a password. */
function readProxy(setting: string, text: string): URL {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const url = URL.canParse(hasScheme ? text : `http://${text}`)
    ? new URL(hasScheme ? text : `http://${text}`)
    : undefined;
  if (url === undefined || url.hostname === '' || !canDecode(url))
    throw new SettingsError([
      `${setting}: is no address of a proxy; write http://host:3128 or http://user:password@host:3128, with %-codes for special characters in user and password`,
    ]);
  if (url.protocol === 'http:' || url.protocol === 'https:') return url;
  throw new SettingsError([
    `${setting}: a proxy of the kind ${url.protocol}// cannot be used for AWS; name an HTTP proxy, or unset ${setting}`,
  ]);
}

function canDecode({ username, password }: URL): boolean {
  try {
    return [username, password].map(decodeURIComponent).length === 2;
  } catch {
    return false;
  }
}

type TunnelOptions = {
  readonly proxy: URL;
  /** the name of the variable that names the proxy */
  readonly setting: string;
  readonly secure: boolean;
  readonly direct: HttpAgent;
  readonly options: AgentOptions;
  readonly except?: string | undefined;
  readonly tunnelMs?: number;
};

/** Reaches each host through a tunnel that the proxy makes (CONNECT), and those of NO_PROXY directly. Tunnels are kept as connections are. */
class TunnelAgent extends HttpsProxyAgent<string> {
  private readonly tunnel: TunnelOptions;
  private readonly bypasses: ReturnType<typeof createBypass>;
  constructor(tunnel: TunnelOptions) {
    super(tunnel.proxy, tunnel.options);
    this.tunnel = tunnel;
    this.bypasses = createBypass(tunnel.except ?? '');
  }

  /** The library would look through a stack trace for it. */
  override isSecureEndpoint(): boolean {
    return this.tunnel.secure;
  }

  override async connect(request: ClientRequest, target: Parameters<HttpsProxyAgent<string>['connect']>[1]) {
    const { host = '', port = 443 } = target;
    // the base class takes an agent in place of a socket
    if (this.bypasses(host, port)) return this.tunnel.direct as unknown as Socket;
    let status: number | undefined;
    request.once('proxyConnect', ({ statusCode }: { statusCode: number }) => {
      status = statusCode;
    });
    const socket = await this.openTunnel(request, target, `${host}:${port}`);
    if (status === 200) return socket;
    // the library would take the page of the proxy for AWS's answer
    socket.destroy();
    throw this.refusal(status, `${host}:${port}`);
  }

  private async openTunnel(
    request: ClientRequest,
    target: Parameters<HttpsProxyAgent<string>['connect']>[1],
    to: string,
  ): Promise<Socket> {
    const { proxy, setting, tunnelMs: waitMs = tunnelMs } = this.tunnel;
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), waitMs);
    // the library reads it before it waits for anything
    this.connectOpts = { ...this.connectOpts, signal: limit.signal } as typeof this.connectOpts;
    try {
      return await super.connect(request, target);
    } catch (cause) {
      const why = limit.signal.aborted ? `no answer within ${waitMs / 1000} s` : textOf(cause);
      throw new ProxyError(
        `the proxy ${shown(proxy)} made no connection to ${to}: ${why}`,
        `look whether the proxy runs and can be reached from here, or correct ${setting}; hosts that need no proxy belong into NO_PROXY`,
        { cause },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  private refusal(status: number | undefined, to: string): ProxyError {
    const { proxy, setting } = this.tunnel;
    const message = `the proxy ${shown(proxy)} refuses a connection to ${to} with status ${status}`;
    // tinyproxy says 401 for a wrong password
    if (status === 407 || status === 401)
      return new ProxyError(
        message,
        `put the user and the password that the proxy asks for into ${setting}, as in http://user:password@host:3128 with %-codes for special characters (Basic is the one way that is spoken)`,
        { lasts: true },
      );
    if (status !== undefined && status >= 400 && status < 500)
      return new ProxyError(message, `allow CONNECT to ${to} at the proxy, or name the host in NO_PROXY`, {
        lasts: true,
      });
    return new ProxyError(message, `the proxy itself cannot reach ${to}: its log says why`);
  }

  override destroy(): void {
    super.destroy();
    this.tunnel.direct.destroy();
  }
}

/** Without user and password. */
const shown = ({ protocol, host }: URL): string => `${protocol}//${host}`;

function textOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  return message || code || String(error);
}
