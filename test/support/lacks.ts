import { existsSync } from 'node:fs';
import { findCommand } from '../../runtime/system-packages.ts';

/** Where a program of PATH is, or a header of C (`mbedtls/ssl.h`); undefined where it is missing. */
export function find(name: string): string | undefined {
  if (name.endsWith('.h')) return [`/usr/include/${name}`].find(existsSync);
  return findCommand(name, process.env.PATH ?? '');
}

/** Whether a program or header that a test needs is missing here; the set-up has said so, and tried to install it. */
export const lacks = (name: string): boolean => find(name) === undefined;
