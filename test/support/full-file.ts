import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';

/** Linux has them. */
const [descriptors, full] = ['/proc/self/fd', '/dev/full'];

/**
 * Lets each write to a file that this process has open fail as on a full disk.
 * @returns gives the disk room again
 */
export function fillDiskBelow(file: string): () => void {
  const descriptor = Number(readdirSync(descriptors).find((name) => pathOf(name) === file));
  replace(descriptor, () => openSync(full, 'w'));
  return () => replace(descriptor, () => openSync(file, 'a'));
}

function pathOf(name: string): string | undefined {
  try {
    return readlinkSync(`${descriptors}/${name}`);
  } catch {
    // the one that the folder itself was read by
    return undefined;
  }
}

/** The system gives the lowest number that is free, so all below it are taken first. */
function replace(descriptor: number, open: () => number): void {
  closeSync(descriptor);
  const below: number[] = [];
  for (let taken = open(); taken !== descriptor; taken = open()) {
    below.push(taken);
    if (taken > descriptor) throw new Error(`descriptor ${descriptor} was taken by another part of this process`);
  }
  for (const each of below) closeSync(each);
}
