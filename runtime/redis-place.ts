/** A host and a port. */
export type Address = { readonly host: string; readonly port: number };

/** A Redis whose master changes: `ask` are those that know who it is. */
type Found = {
  readonly tls: boolean;
  readonly ask: readonly Address[];
  readonly username?: string;
  readonly password?: string;
};

/** Where Redis is, as REDIS_URL says it. */
export type RedisPlace =
  | { readonly by: 'address'; readonly url: string }
  /** `sentinelPassword`: of the Sentinels, which have one apart from the servers' */
  | (Found & {
      readonly by: 'sentinel';
      readonly master: string;
      readonly database: number;
      readonly sentinelPassword?: string;
    })
  | (Found & { readonly by: 'cluster' });

const schemes = /^(rediss?)(?:\+(sentinel|cluster))?:\/\//;
const defaultPorts = { sentinel: 26_379, cluster: 6379 };

/** Spellings of other programs (Lettuce, Spring, Celery), which are refused with the spelling that is meant. */
const otherSchemes = /^(rediss?[-+.](sentinel|cluster)|(sentinel|cluster)s?):\/\//i;

const forms =
  'redis://host:6379/0, redis+sentinel://host:26379,host2:26379/name-of-the-master/0 or redis+cluster://host:6379,host2:6379; with rediss instead of redis for TLS';

const encoded =
  'looks as if user or password had a character that means something else in a URL: write # as %23, / as %2F, ? as %3F, % as %25, @ as %40, or give the password in CVM_REDIS_PASSWORD_FILE';

/** What is wrong with a REDIS_URL, all at once. No reason has a part of the text: it may be the password. */
export function redisUrlProblems(text: string): string[] {
  const [, , kind] = schemes.exec(text) ?? [];
  if (!schemes.test(text))
    return [
      otherSchemes.test(text)
        ? `is spelled in another way here: ${forms}`
        : `must begin with redis:// or rediss:// (TLS), as in redis://:password@redis:6379/0, or be one of ${forms}`,
    ];
  return kind === undefined ? addressProblems(text) : manyProblems(text, kind as 'sentinel' | 'cluster');
}

function addressProblems(text: string): string[] {
  try {
    const { hostname, username, password, pathname, search, hash } = new URL(text);
    for (const part of [username, password]) decodeURIComponent(part);
    // what follows a raw # / or ? of a password is no longer part of it, and the host is what stands before
    if ([pathname, search, hash].some((part) => part.includes('@')) || hash !== '') return [encoded];
    if (hostname === '') return ['names no host, as in redis://:password@redis:6379/0'];
    return /^(\/\d*)?$/.test(pathname) ? [] : ['must end with the number of a database, as in redis://redis:6379/0'];
  } catch {
    if (/^[^@]*,/.test(text)) return [`names several hosts: write ${forms}`];
    return [text.includes('@') ? encoded : 'is not a URL, as in redis://:password@redis:6379/0'];
  }
}

function manyProblems(text: string, kind: 'sentinel' | 'cluster'): string[] {
  const { user, hosts, path } = partsOf(text);
  const problems: string[] = [];
  if (user !== undefined && !isEncoded(user)) problems.push(encoded);
  // what follows a raw # / or ? of a password would be printed with a host
  else if (path.includes('@') || hosts.some((host) => /[?#]/.test(host))) problems.push(encoded);
  else if (hosts.some((host) => addressOf(host, 1) === undefined))
    problems.push(`has a host that is none: write host:${defaultPorts[kind]}, and commas between several`);
  if (kind === 'cluster' && !/^(\/0?)?$/.test(path))
    problems.push('ends with the number of a database: a Cluster has only database 0, so leave it out');
  if (kind === 'sentinel' && !path.includes('@') && !/^\/[\w.-]+(\/\d*)?$/.test(path))
    problems.push(
      'must end with the name that the Sentinels have for the master, as in redis+sentinel://host:26379,host2:26379/mymaster/0',
    );
  return problems;
}

/** `new URL` refuses several hosts. */
function partsOf(text: string) {
  const rest = text.replace(schemes, '');
  const [authority = '', path = ''] = [/^[^/]*/.exec(rest)?.[0], /\/.*$/s.exec(rest)?.[0]];
  const at = authority.lastIndexOf('@');
  const user = at < 0 ? undefined : authority.slice(0, at);
  return { user, hosts: authority.slice(at + 1).split(','), path };
}

function isEncoded(user: string): boolean {
  try {
    decodeURIComponent(user);
    return !/[@#?/]/.test(user);
  } catch {
    return false;
  }
}

function addressOf(text: string, defaultPort: number): Address | undefined {
  const [, six, name, port] = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i.exec(text.trim()) ?? [];
  const host = six ?? name;
  const number = port === undefined ? defaultPort : Number(port);
  return host === undefined || number < 1 || number > 65_535 ? undefined : { host, port: number };
}

/** @param text a REDIS_URL without problems */
export function redisPlace(text: string): RedisPlace {
  const [, scheme, kind] = schemes.exec(text) ?? [];
  if (kind === undefined) return { by: 'address', url: text };
  const { user, hosts, path } = partsOf(text);
  const [username = '', password = ''] = [/^[^:]*/.exec(user ?? '')?.[0], /:(.*)$/s.exec(user ?? '')?.[1]];
  const found = {
    tls: scheme === 'rediss',
    ask: hosts.flatMap((host) => addressOf(host, defaultPorts[kind as 'sentinel' | 'cluster']) ?? []),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  };
  if (kind === 'cluster') return { by: 'cluster', ...found };
  const [, master = '', database = ''] = path.split('/');
  return { by: 'sentinel', ...found, master, database: Number(database) };
}

/** Whether the URL had one, which comes before that of a file. */
export const hasPassword = (place: RedisPlace): boolean =>
  place.by === 'address' ? new URL(place.url).password !== '' : place.password !== undefined;

export function withRedisPassword(place: RedisPlace, password: string): RedisPlace {
  if (place.by !== 'address') return { ...place, password };
  const url = new URL(place.url);
  url.password = encodeURIComponent(password);
  return { by: 'address', url: url.href };
}

/** For people: without user and password. */
export function redisPlaceText(place: RedisPlace): string {
  if (place.by === 'address') return new URL(place.url).host;
  const asked = place.ask.map(addressText).join(', ');
  return place.by === 'sentinel' ? `${place.master} of the Sentinels ${asked}` : `the Cluster of ${asked}`;
}

export const addressText = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;
