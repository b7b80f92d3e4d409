import { isIP } from 'node:net';

/**
 * The host names that the console answers to. It refuses others against DNS rebinding: an attacker's page whose DNS name is pointed at this machine
 * would be of the same origin as the console. Addresses are all accepted: DNS cannot redirect them.
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
