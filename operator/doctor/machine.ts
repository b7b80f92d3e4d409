import { bytes } from '../judge-status.ts';
import { type Check, fail, ok, parts, skipped, type Verdict, warn } from './check.ts';
import type { DiskFacts, DoctorSources, FolderFacts } from './sources.ts';

/** Free space below which writes soon fail, and below which a person should look. Bytes, and the part of the whole. */
const [least, little] = [
  { bytes: 100e6, part: 0.01 },
  { bytes: 1e9, part: 0.05 },
];

/** The memory that a broker or a worker in a container of its own needs, in bytes. */
const leastMemory = 200e6;

export const machineChecks: readonly Check[] = [
  {
    id: 'data-folder',
    title: 'folders',
    finds:
      'the data folder, a folder in it, the audit trail or a key cannot be written or made, is no folder, belongs to another user, or is open to others; a key or the file of passwords is damaged',
    parts,
    quick: true,
    atStart: true,
    fixes: true,
    async look(sources) {
      const bad = (await sources.folders()).filter(({ state }) => state !== 'good' && state !== 'missing');
      // each of them would say the same
      const [readOnly, ...alike] = bad.filter(({ state }) => state === 'read-only-disk');
      const told = bad.filter((folder) => folder === readOnly || !alike.includes(folder));
      return told.length === 0 ? [ok('this user alone has them')] : told.map((folder) => judgeFolder(folder, sources));
    },
  },
  {
    id: 'disk',
    title: 'disk',
    finds: 'less than 1 GB or 5 % free at the data folder or the audit trail; a failure below 100 MB or 1 %',
    parts,
    quick: true,
    atStart: true,
    async look({ disks }) {
      const found = await disks();
      return found.length === 0 ? [skipped('the folders are not there yet')] : found.map(judgeDisk);
    },
  },
  {
    id: 'memory',
    title: 'memory',
    finds: 'less than 200 MB of memory for this machine or container, or less than 50 MB of it free',
    parts,
    quick: true,
    atStart: true,
    async look({ memory }) {
      const { totalBytes, freeBytes } = await memory();
      const seen = `${bytes(freeBytes)} free of ${bytes(totalBytes)}`;
      return [
        freeBytes < leastMemory / 4 || totalBytes < leastMemory
          ? warn({
              seen,
              cause: 'the system may end a process of the gateway for lack of memory',
              cure: 'give the machine or the container more memory, or stop what else needs it',
            })
          : ok(seen),
      ];
    },
  },
];

function judgeFolder({ path, what, state, mode, wanted }: FolderFacts, { mend }: DoctorSources): Verdict {
  const shown = mode.toString(8);
  if (state === 'open-to-others') {
    const open = {
      seen: `${path} (${what}) is open to others: mode ${shown}`,
      cause: 'other users of this machine can read it',
      cure: `run: chmod ${wanted.toString(8)} ${path}`,
      mend: () => mend.permissionsOf(path, wanted),
    };
    // a key that others can read is refused at the start
    return what === 'a key' ? fail(open) : warn(open);
  }
  if (state === 'no-folder')
    return fail({
      seen: `${path} is a file, and ${what} must be a folder`,
      cause: 'certificates, requests or records cannot be kept',
      cure: 'name a folder in CVM_DATA_DIR or CVM_AUDIT_DIR',
    });
  if (state === 'of-another-user')
    return fail({
      seen: `${path} (${what}) belongs to another user`,
      cause: 'it was made by a run as another user, root say',
      cure: `give it to the user that runs the gateway: chown -R USER ${path}`,
    });
  if (state === 'damaged')
    return fail({
      seen: `${path} (${what}) is damaged`,
      cause: 'the gateway does not start with it; the disk failed, or was full, or the power went while it was written',
      cure:
        what === 'a key'
          ? 'put back this file from a backup (docs/restoring.md)'
          : `remove it, and run "cvm console password --reset": ${path}`,
    });
  if (state === 'read-only-disk')
    return fail({
      seen: `${path} (${what}) is on a file system that is read-only`,
      cause: 'certificates, requests or records cannot be kept; Linux makes a disk read-only where it has failed',
      cure: 'see the end of "dmesg"; make it writable (mount -o remount,rw), take another disk, or name another folder in CVM_DATA_DIR',
    });
  return fail({
    seen: `${path} (${what}) cannot be written by this user (mode ${shown.padStart(3, '0')})`,
    cause: 'certificates, requests or records cannot be kept',
    cure:
      (mode & wanted) === wanted
        ? 'give the user that runs the gateway the right to write there, or name another folder (CVM_DATA_DIR, CVM_AUDIT_DIR)'
        : `run: chmod ${wanted.toString(8)} ${path}; or name another folder (CVM_DATA_DIR, CVM_AUDIT_DIR)`,
  });
}

function judgeDisk({ path, freeBytes, totalBytes }: DiskFacts): Verdict {
  const below = (limit: typeof least) => freeBytes < limit.bytes || freeBytes < totalBytes * limit.part;
  const seen = `${bytes(freeBytes)} free of ${bytes(totalBytes)} at ${path}`;
  const cause = 'a full disk stops Redis, the audit trail and the renewal of certificates';
  const cure = 'free space there, or name a folder on a larger disk in CVM_DATA_DIR or CVM_AUDIT_DIR';
  if (below(least)) return fail({ seen, cause, cure });
  return below(little) ? warn({ seen, cause, cure }) : ok(seen);
}
