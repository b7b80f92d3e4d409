import { judgeClaim } from './claim-rules.ts';
import { oldestBeyondLimit } from './creates.ts';
import type { Claim, ClaimRequest, CreateIntent, Device, DeviceState, Registry } from './registry.ts';

/** The association table in memory: for tests and for trying things out. Atomic because nothing in a method waits. */
export function createMemoryRegistry(rows: Map<string, Device> = new Map()): Registry {
  /** by digest: whose public key it is */
  const keys = new Map<string, string>();

  /** A write of an attempt: it counts only while that attempt is the latest and the device is applying. */
  function write(serial: string, attempt: number, change: (row: Device) => Device | false): boolean {
    const row = rows.get(serial);
    if (row?.state !== 'provisioning' || row.attempt !== attempt) return false;
    return put(change(row));
  }

  /** A write about a row as it was read. */
  function decide(read: Device, change: (row: Device) => Device | false): boolean {
    const row = rows.get(read.serial);
    if (row === undefined || !sameDecisions(row, read)) return false;
    return put(change(row));
  }

  function put(row: Device | false): boolean {
    if (row !== false) rows.set(row.serial, row);
    return row !== false;
  }

  return {
    async enrol(enrolment) {
      if (rows.has(enrolment.serial)) return false;
      return put({ ...enrolment, state: 'enrolled', requestedAt: 0, attempt: 0 });
    },
    async find(serial) {
      return rows.get(serial);
    },
    async *list() {
      yield* rows.values();
    },
    async claim(request) {
      const row = rows.get(request.serial);
      const verdict = judgeClaim(row, request);
      if (verdict !== undefined || row === undefined) return verdict ?? { outcome: 'busy', until: request.now };
      return taken(row, request);
    },
    async bindKey(serial, keyDigest) {
      const holder = keys.get(keyDigest) ?? serial;
      if (holder !== serial && rows.has(holder)) return false;
      keys.set(keyDigest, serial);
      return true;
    },
    async recordCreateIntent(serial, attempt, call, ownKey) {
      return write(serial, attempt, (row) => {
        const createIntents = { ...row.createIntents, [attempt]: call };
        const dropped = oldestBeyondLimit(row.createIntents);
        if (dropped !== undefined) delete (createIntents as Record<string, CreateIntent>)[dropped];
        return { ...row, createIntents, ...(ownKey === undefined ? {} : { ownKey }) };
      });
    },
    async recordCertificate(serial, attempt, { certificateId, keyDigest, createdBy }) {
      return write(serial, attempt, (row) => {
        if ([...(row.pendingDeletion ?? []), ...(row.deleted ?? [])].includes(certificateId)) return false;
        const { keyDigest: _earlier, ...rest } = without(row, createdBy === undefined ? [] : [String(createdBy)]);
        return { ...rest, certificateId, ...(keyDigest === undefined ? {} : { keyDigest }) };
      });
    },
    async discardCertificate(serial, attempt, certificateId) {
      return write(serial, attempt, (row) => {
        if (row.certificateId === certificateId) return condemning(row, [certificateId]);
        return row.pendingDeletion?.includes(certificateId) ? row : false;
      });
    },
    async finish(serial, attempt, certificateId, now) {
      const row = rows.get(serial);
      if (row?.state === 'registered' && row.attempt === attempt && row.certificateId === certificateId) return true;
      return write(serial, attempt, (current) => {
        if (current.certificateId !== certificateId) return false;
        const { previousCertificateId: _withdrawn, ownKey: _handedOver, ...rest } = withoutLease(current, 'registered');
        return { ...rest, issuedAt: now };
      });
    },
    async release(serial, attempt, nothingMade = false) {
      return write(serial, attempt, (row) =>
        without(withoutLease(row, 'enrolled'), nothingMade ? [String(attempt)] : []),
      );
    },
    async reopen(device, request) {
      const row = rows.get(device.serial);
      if (row?.state !== 'registered' || row.attempt !== device.attempt || row.deliveredAt !== undefined)
        return { outcome: 'busy', until: request.now };
      const { issuedAt: _over, ...rest } = row;
      return taken(rest, request);
    },
    async acknowledge(serial, tokenHash, certificateId, now) {
      const row = rows.get(serial);
      if (row?.state !== 'registered' || row.tokenHash !== tokenHash || row.certificateId !== certificateId)
        return false;
      return put({ ...row, deliveredAt: row.deliveredAt ?? now });
    },
    async markForDeletion(serial, certificateId) {
      const row = rows.get(serial);
      if (row === undefined) return 'no-row';
      if (row.certificateId === certificateId || row.previousCertificateId === certificateId) return 'in-use';
      put({ ...row, pendingDeletion: [...new Set([...(row.pendingDeletion ?? []), certificateId])] });
      return 'marked';
    },
    async confirmDeleted(serial, certificateId) {
      const { pendingDeletion = [], ...row } = rows.get(serial) ?? {};
      if (!('serial' in row)) return;
      const left = pendingDeletion.filter((id) => id !== certificateId);
      const deleted = [...new Set([...(row.deleted ?? []), certificateId])];
      put({ ...row, ...(left.length === 0 ? {} : { pendingDeletion: left }), deleted });
    },
    async clearCreateIntents(device, attempts) {
      return decide(device, (row) => without(row, attempts));
    },
    async abandonAttempt(device) {
      return decide(device, (row) => {
        const { ownKey: _unused, ...rest } = condemning(
          row,
          row.certificateId === undefined ? [] : [row.certificateId],
        );
        return { ...withoutLease(rest, row.state === 'blocked' ? 'blocked' : 'enrolled'), attempt: row.attempt + 1 };
      });
    },
    async block(device) {
      return decide(device, (row) => ({ ...withoutLease(row, 'blocked'), attempt: row.attempt + 1 }));
    },
    async unblock(device) {
      return decide(device, (row) => {
        if (row.state !== 'blocked' || row.removal !== undefined) return false;
        return { ...row, state: row.issuedAt === undefined ? 'enrolled' : 'registered', attempt: row.attempt + 1 };
      });
    },
    async reissue(device, token) {
      return decide(device, (row) => {
        const live = row.issuedAt !== undefined;
        const {
          certificateId,
          keyDigest: _key,
          issuedAt: _issued,
          deliveredAt: _delivered,
          tokenExpiresAt: _expiry,
          sealedKeys: _ofTheOldToken,
          ownKey: _sealedToTheOldToken,
          ...rest
        } = withoutLease(
          live || row.certificateId === undefined ? row : condemning(row, [row.certificateId]),
          'enrolled',
        );
        const previous = live ? certificateId : row.previousCertificateId;
        return {
          ...rest,
          ...token,
          attempt: row.attempt + 1,
          ...(previous === undefined ? {} : { previousCertificateId: previous }),
        };
      });
    },
    async retire(device, removal) {
      return decide(device, (row) => {
        const ids = [row.certificateId, row.previousCertificateId].filter((id) => id !== undefined);
        const {
          previousCertificateId: _condemned,
          ownKey: _unused,
          ...rest
        } = withoutLease(condemning(row, ids), 'blocked');
        return { ...rest, attempt: row.attempt + 1, removal };
      });
    },
    async remove(device) {
      const row = rows.get(device.serial);
      if (row === undefined || !sameDecisions(row, device)) return false;
      if (row.pendingDeletion !== undefined || Object.keys(row.createIntents ?? {}).length > 0) return false;
      return rows.delete(device.serial);
    },
  };

  function taken(row: Device, request: ClaimRequest): Claim {
    const { claimedBy: _earlier, deleted: _beforeIt, ...rest } = row;
    const device: Device = {
      ...rest,
      state: 'provisioning',
      requestedAt: request.now,
      attempt: row.attempt + 1,
      leaseUntil: request.now + request.leaseMs,
      ...(request.claimedBy === undefined ? {} : { claimedBy: request.claimedBy }),
    };
    put(device);
    return { outcome: 'claimed', device };
  }
}

function withoutLease({ leaseUntil: _ended, claimedBy: _done, ...row }: Device, state: DeviceState): Device {
  return { ...row, state };
}

/** The row without the create calls of these attempts. */
function without({ createIntents = {}, ...row }: Device, attempts: readonly string[]): Device {
  const left = Object.entries(createIntents).filter(([attempt]) => !attempts.includes(attempt));
  return left.length === 0 ? row : { ...row, createIntents: Object.fromEntries(left) };
}

function condemning({ certificateId, keyDigest: _its, ...row }: Device, ids: readonly string[]): Device {
  const kept = certificateId === undefined || ids.includes(certificateId) ? {} : { certificateId };
  const pendingDeletion = [...new Set([...(row.pendingDeletion ?? []), ...ids])];
  return { ...row, ...kept, ...(pendingDeletion.length === 0 ? {} : { pendingDeletion }) };
}

/** Every decision shows in these four. */
function sameDecisions(row: Device, read: Device): boolean {
  return (
    row.tokenHash === read.tokenHash &&
    row.state === read.state &&
    row.attempt === read.attempt &&
    row.certificateId === read.certificateId
  );
}
