import { isIPv6 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { hostNameProblem } from '../runtime/host-name.ts';

type Named = { readonly hostnames: readonly string[]; readonly machineName: string };
type Interfaces = Readonly<Record<string, readonly Pick<NetworkInterfaceInfo, 'address' | 'internal'>[] | undefined>>;

/** What Docker calls a container that has no name of its own; another one with each re-creation. */
export const isContainerId = (name: string): boolean => /^([0-9a-f]{12}|[0-9a-f]{64})$/.test(name);

/** Bridges to the containers and virtual machines of this machine. They come and go, and no device of the site is behind them. */
const bridge = /^(docker\d|br-[0-9a-f]{12}$|veth|virbr|cni\d|podman\d|lxcbr|lxdbr)/;

/**
 * The names for the server certificate: those that the operator gives, the machine's name, and the addresses that it has now.
 * An operator who needs one that is left out here gives it.
 */
export function serverNames({ hostnames, machineName }: Named, interfaces: Interfaces = networkInterfaces()): string[] {
  const isName = hostNameProblem(machineName) === undefined && !isContainerId(machineName);
  const addresses = Object.entries(interfaces)
    .filter(([name]) => !bridge.test(name))
    .flatMap(([, entries]) => entries ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address);
  return distinct([...hostnames, ...(isName ? [machineName] : []), 'localhost', '127.0.0.1', '::1', ...addresses]);
}

/** Each name once. An IPv6 address can be written in several ways, and Node.js prints those of a certificate in another. */
export function distinct(names: readonly string[]): string[] {
  return [...new Set(names.map(canonical))];
}

/** Lower case, without the dot at the end; an IPv6 address as RFC 5952 writes it, without its zone, which is valid on one machine only. */
function canonical(name: string): string {
  const [address = ''] = name.split('%');
  return isIPv6(name) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : name.toLowerCase().replace(/\.$/, '');
}
