import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { findCommand } from '../../runtime/system-packages.ts';

/**
 * Where a program of PATH is, a header of C (`mbedtls/ssl.h`), or a Python that has modules (`python3 paho.mqtt.client cryptography`);
 * undefined where it is missing.
 */
export function find(name: string): string | undefined {
  if (name.endsWith('.h')) return [`/usr/include/${name}`].find(existsSync);
  const [program = '', ...modules] = name.split(' ');
  return modules.length > 0 ? pythonWith(...modules) : findCommand(program, process.env.PATH ?? '');
}

/** Whether a program or header that a test needs is missing here; the set-up has said so, and tried to install it. */
export const lacks = (name: string): boolean => find(name) === undefined;

/** A Python that has all of these modules: those of Debian's packages are for Debian's Python, which may not be the first one. */
export const pythonWith = (...modules: readonly string[]): string | undefined =>
  ['python3', '/usr/bin/python3'].find((each) => spawnSync(each, ['-c', `import ${modules.join(', ')}`]).status === 0);
