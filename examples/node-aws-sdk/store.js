// What the device keeps in its flash.
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param {string} folder readable for its owner only; it is made if it is not there */
export function openStore(folder) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'device.json');
  return {
    /**
     * Certificate and key, with the ownership token until the device is registered, and the name of the thing then; undefined before there
     * is a certificate.
     */
    device() {
      try {
        return JSON.parse(readFileSync(path, 'utf8'));
      } catch (error) {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      }
    },

    /** The same certificate and key can be had again, since the device is not registered yet. */
    forget: () => rmSync(path, { force: true }),

    /** After a power cut the file has its whole content, or what it had before. */
    keep(device) {
      const file = openSync(`${path}.new`, 'w', 0o600);
      try {
        writeFileSync(file, JSON.stringify(device));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(`${path}.new`, path);
      // the new name is in the folder, so that must be on the disk as well
      const directory = openSync(folder, 'r');
      try {
        fsyncSync(directory);
      } finally {
        closeSync(directory);
      }
    },
  };
}
