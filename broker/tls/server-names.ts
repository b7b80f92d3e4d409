import { networkInterfaces } from 'node:os';
import type { TlsOptions } from './material.ts';

/** What devices may call this machine: what the operator says, its own name, and its addresses. */
export function serverNames({ hostnames, machineName }: TlsOptions): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) =>
    (entries ?? [])
      .filter((entry) => !entry.internal && !entry.address.startsWith('fe80:'))
      .map((entry) => entry.address),
  );
  return [...new Set([...hostnames, machineName, 'localhost', '127.0.0.1', '::1', ...addresses])];
}
