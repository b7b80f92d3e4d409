import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

const pieceBytes = 64 * 1024;

/**
 * Cuts off the zeros that a power cut may leave at the end of the append-only files of a Redis or Valkey, which does not start with them. A
 * command ends in a line end, so no zero behind the last one is data; a command that was cut off the server drops by itself.
 * @param folder its working folder, while no server runs there. @returns how many bytes were cut off
 * @see https://github.com/valkey-io/valkey/issues/1148
 */
export function dropZerosAtEnd(folder: string): number {
  const parts = join(folder, 'appendonlydir');
  // of Redis 7 and Valkey, and of Redis 6
  const ofParts = existsSync(parts) ? readdirSync(parts).filter((name) => name.endsWith('.incr.aof')) : [];
  const files = [...ofParts.map((name) => join(parts, name)), join(folder, 'appendonly.aof')];
  return files.filter((file) => existsSync(file)).reduce((sum, file) => sum + dropFrom(file), 0);
}

function dropFrom(file: string): number {
  const descriptor = openSync(file, 'r+');
  try {
    const { size } = fstatSync(descriptor);
    const kept = lengthWithoutZeros(descriptor, size);
    if (kept === size) return 0;
    ftruncateSync(descriptor, kept);
    fsyncSync(descriptor);
    return size - kept;
  } finally {
    closeSync(descriptor);
  }
}

function lengthWithoutZeros(descriptor: number, size: number): number {
  const piece = Buffer.alloc(pieceBytes);
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - pieceBytes);
    const got = readSync(descriptor, piece, 0, end - begin, begin);
    for (let at = got - 1; at >= 0; at--) if (piece[at] !== 0) return begin + at + 1;
    end = begin;
  }
  return 0;
}
