import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';

type Named = { readonly hostnames: readonly string[]; readonly machineName: string };

/** What devices may call this machine: what the operator says, its own name, and its addresses. */
export function serverNames({ hostnames, machineName }: Named): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) =>
    (entries ?? [])
      .filter((entry) => !entry.internal && !entry.address.startsWith('fe80:'))
      .map((entry) => entry.address),
  );
  return distinct([...hostnames, machineName, 'localhost', '127.0.0.1', '::1', ...addresses]);
}

/** Each name once. An IPv6 address can be written in many ways, and certificates are read out in another than it has here. */
export function distinct(names: readonly string[]): string[] {
  return [...new Set(names.map(canonical))];
}

/** An IPv6 address as RFC 5952 has it, without its zone, which means something on one machine only. */
function canonical(name: string): string {
  const [address = ''] = name.split('%');
  return isIPv6(name) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : name;
}
