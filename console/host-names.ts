import { isIP } from 'node:net';

/**
 * Which names the console answers to. A page of a stranger, whose name the stranger's DNS server lets point to this machine (DNS
 * rebinding), would otherwise be of the same origin as the console. An address cannot be made to point elsewhere, so each is taken.
 * @param names of the server certificate, and of CVM_HOSTNAMES
 */
export function isOwnHost(header: string | undefined, names: readonly string[]): boolean {
  const host = hostOf(header);
  if (host === undefined) return false;
  if (isIP(host) !== 0 || host === 'localhost') return true;
  return names.some((name) => name.toLowerCase() === host || (name.startsWith('*.') && isBelow(host, name.slice(1))));
}

/** Without its port, in lower case. Undefined for what is none. RFC 9110, 7.2 */
function hostOf(header = ''): string | undefined {
  const [, bracketed, plain] = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]{1,253}))(?::\d{1,5})?$/.exec(header) ?? [];
  return (bracketed ?? plain)?.toLowerCase().replace(/\.$/, '');
}

/** A wildcard stands for one label. */
const isBelow = (host: string, suffix: string) =>
  host.endsWith(suffix.toLowerCase()) && !host.slice(0, -suffix.length).includes('.');
