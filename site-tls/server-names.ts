import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';

type Named = { readonly hostnames: readonly string[]; readonly machineName: string };

/** The names for the server certificate: those that the operator gives, the machine's name, and its addresses. */
export function serverNames({ hostnames, machineName }: Named): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) =>
    (entries ?? [])
      .filter((entry) => !entry.internal && !entry.address.startsWith('fe80:'))
      .map((entry) => entry.address),
  );
  return distinct([...hostnames, machineName, 'localhost', '127.0.0.1', '::1', ...addresses]);
}

/** Each name once. An IPv6 address can be written in several ways, and Node.js prints those of a certificate in another. */
export function distinct(names: readonly string[]): string[] {
  return [...new Set(names.map(canonical))];
}

/** An IPv6 address as RFC 5952 writes it, without its zone, which is valid on one machine only. */
function canonical(name: string): string {
  const [address = ''] = name.split('%');
  return isIPv6(name) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : name;
}
