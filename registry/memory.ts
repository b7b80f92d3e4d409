import { claimVerdict } from './claim-rules.ts';
import type { ApplyState, Device, Registry } from './registry.ts';

/** The association table in memory: for tests and for trying things out. Atomic because nothing in a method waits. */
export function createMemoryRegistry(): Registry {
  const rows = new Map<string, Device>();

  /** A write of an attempt: it counts only while that attempt is the latest and the device is applying. */
  function write(serial: string, attempt: number, change: (row: Device) => Device): boolean {
    const row = rows.get(serial);
    if (row?.applyState !== 1 || row.attempt !== attempt) return false;
    rows.set(serial, change(row));
    return true;
  }

  return {
    async enrol(enrolment) {
      if (rows.has(enrolment.serial)) return false;
      rows.set(enrolment.serial, { ...enrolment, applyState: 0, requestedAt: 0, attempt: 0 });
      return true;
    },
    async find(serial) {
      return rows.get(serial);
    },
    async *list() {
      yield* rows.values();
    },
    async claim(request) {
      const row = rows.get(request.serial);
      const verdict = claimVerdict(row, request);
      if (verdict !== undefined || row === undefined) return verdict ?? { outcome: 'busy', until: request.now };
      const { claimant: _earlier, ...rest } = row;
      const device: Device = {
        ...rest,
        applyState: 1,
        requestedAt: request.now,
        attempt: row.attempt + 1,
        leaseUntil: request.now + request.leaseMs,
        ...(request.claimant === undefined ? {} : { claimant: request.claimant }),
      };
      rows.set(request.serial, device);
      return { outcome: 'claimed', device };
    },
    async record(serial, attempt, certificateId, keyDigest) {
      return write(serial, attempt, ({ keyDigest: _earlier, ...row }) => ({
        ...row,
        certificateId,
        ...(keyDigest === undefined ? {} : { keyDigest }),
      }));
    },
    async finish(serial, attempt, certificateId, now) {
      const row = rows.get(serial);
      if (row?.applyState === -1 && row.attempt === attempt && row.certificateId === certificateId) return true;
      if (row?.certificateId !== certificateId) return false;
      return write(serial, attempt, (current) => withoutPrevious({ ...withoutLease(current, -1), issuedAt: now }));
    },
    async reopen(device, request) {
      const row = rows.get(device.serial);
      if (row?.applyState !== -1 || row.attempt !== device.attempt || row.deliveredAt !== undefined)
        return { outcome: 'busy', until: request.now };
      const { issuedAt: _over, ...rest } = row;
      const reopened: Device = {
        ...rest,
        applyState: 1,
        requestedAt: request.now,
        attempt: row.attempt + 1,
        leaseUntil: request.now + request.leaseMs,
        ...(request.claimant === undefined ? {} : { claimant: request.claimant }),
      };
      rows.set(device.serial, reopened);
      return { outcome: 'claimed', device: reopened };
    },
    async acknowledge(serial, tokenHash, certificateId, now) {
      const row = rows.get(serial);
      if (row?.applyState !== -1 || row.tokenHash !== tokenHash || row.certificateId !== certificateId) return false;
      rows.set(serial, { ...row, deliveredAt: row.deliveredAt ?? now });
      return true;
    },
    async release(serial, attempt) {
      return write(serial, attempt, (row) => withoutLease(row, 0));
    },
    async block(device) {
      if (!unchanged(rows.get(device.serial), device)) return false;
      const { leaseUntil: _ended, claimant: _done, ...row } = device;
      rows.set(device.serial, { ...row, applyState: -2, attempt: device.attempt + 1 });
      return true;
    },
    async unblock(device) {
      if (!unchanged(rows.get(device.serial), device) || device.applyState !== -2) return false;
      rows.set(device.serial, { ...device, applyState: device.issuedAt === undefined ? 0 : -1 });
      return true;
    },
    async reissue(device, tokenHash, tokenExpiresAt) {
      if (!unchanged(rows.get(device.serial), device)) return false;
      const {
        certificateId,
        keyDigest: _key,
        issuedAt: _issued,
        deliveredAt: _delivered,
        claimant: _done,
        leaseUntil: _lease,
        tokenExpiresAt: _expiry,
        ...row
      } = device;
      const previous = device.previousCertificateId ?? certificateId;
      rows.set(device.serial, {
        ...row,
        tokenHash,
        applyState: 0,
        attempt: device.attempt + 1,
        ...(previous === undefined ? {} : { previousCertificateId: previous }),
        ...(tokenExpiresAt === undefined ? {} : { tokenExpiresAt }),
      });
      return true;
    },
    async remove(device) {
      if (!unchanged(rows.get(device.serial), device)) return false;
      return rows.delete(device.serial);
    },
  };
}

function withoutLease({ leaseUntil: _ended, claimant: _done, ...row }: Device, applyState: ApplyState): Device {
  return { ...row, applyState };
}

function withoutPrevious({ previousCertificateId: _withdrawn, ...row }: Device): Device {
  return row;
}

function unchanged(row: Device | undefined, read: Device): boolean {
  return (
    row !== undefined &&
    row.tokenHash === read.tokenHash &&
    row.applyState === read.applyState &&
    row.attempt === read.attempt
  );
}
