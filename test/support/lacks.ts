import { findCommand } from '../../runtime/system-packages.ts';

/** Whether a program that a test needs is missing here; the set-up has said so, and tried to install it. */
export function lacks(command: string): boolean {
  return findCommand(command, process.env.PATH ?? '') === undefined;
}
