import { BlockList, isIP } from 'node:net';

/** What one entry of NO_PROXY means. */
type Rule = (host: string, port: number) => boolean;

/**
 * Which hosts are reached without a proxy: those of NO_PROXY, and always this machine. An entry is `*`, a name (with all below it; `.name` and
 * `*.name` mean the same), an address, or a network in CIDR notation; `:port` after it limits it to that port.
 */
export function createBypass(noProxy: string): Rule {
  const rules = noProxy
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map(ruleOf);
  return (name, port) => {
    const host = bare(name);
    return isThisMachine(host) || rules.some((applies) => applies(host, port));
  };
}

const bare = (host: string): string =>
  host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');

const isThisMachine = (host: string): boolean =>
  host === 'localhost' ||
  host.endsWith('.localhost') ||
  host === '::1' ||
  (isIP(host) === 4 && host.startsWith('127.'));

function ruleOf(entry: string): Rule {
  if (entry === '*') return () => true;
  const { target, port } = splitPort(entry.toLowerCase());
  const matches = matcherOf(target);
  return (host, ofHost) => (port === undefined || port === ofHost) && matches(host);
}

/** An IPv6 address has colons of its own, so one with a port is written in brackets. */
function splitPort(entry: string): { target: string; port: number | undefined } {
  const found = /^(\[.*\]|[^:]*):(\d+)$/.exec(entry);
  return { target: bare(found?.[1] ?? entry), port: found === null ? undefined : Number(found[2]) };
}

function matcherOf(target: string): (host: string) => boolean {
  const [address = '', prefix] = target.split('/');
  const version = isIP(address);
  if (version === 0) {
    const name = target.replace(/^\*?\./, '');
    return (host) => host === name || host.endsWith(`.${name}`);
  }
  const family = version === 6 ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  const bits = prefix === undefined ? Number.NaN : Number(prefix);
  if (prefix === undefined) list.addAddress(address, family);
  else if (bits >= 0 && bits <= (version === 6 ? 128 : 32)) list.addSubnet(address, bits, family);
  return (host) => isIP(host) === version && list.check(host, family);
}
