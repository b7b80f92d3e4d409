import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** @returns what collects all garbage of this process, so that memory can be read without it. No flag of the command line is needed. */
export function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
