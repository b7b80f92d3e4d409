import type { OperatorDeps } from '../../operator/deps.ts';
import { hashToken } from '../../protocol/token.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import { createMemoryIssuer } from '../fakes/memory-issuer.ts';

/** The time of the clock that the operator's functions are given, in epoch milliseconds. */
export const now = 1_000_000;

/** For a test in which no table is taken over. */
export function noTakeover(): never {
  throw new Error('no table is taken over in this test');
}

/** The arguments of the operator's functions, in memory, and a list of each event and announcement. */
export function createMemoryOperator(over: Partial<OperatorDeps> = {}) {
  const rows = new Map<string, Device>();
  const registry = createMemoryRegistry(rows);
  const aws = createMemoryIssuer();
  const { issuer } = aws;
  const events: string[] = [];
  const announced: string[][] = [];
  let tokensMade = 0;
  const deps: OperatorDeps = {
    registry,
    table: 'cvm-devices',
    issuer,
    gateways: async () => [],
    approvedGateways: async () => [],
    silent: { read: async () => undefined },
    announce: async (serials) => void announced.push([...serials]),
    audit: {
      record: (event, fields) => void events.push([event, ...Object.values(fields)].join(' ')),
      trouble: () => undefined,
      close: async () => {},
    },
    now: () => now,
    makeToken: () => `token-${++tokensMade}-of-the-operator`,
    ...over,
  };

  const enrolAndClaim = async (serial: string): Promise<Device> => {
    const tokenHash = hashToken(`first token of ${serial}`);
    await registry.enrol({ serial, tokenHash, enrolledAt: 1 });
    await registry.claim({ serial, tokenHash, now: 1, leaseMs: 10 });
    return rows.get(serial) as Device;
  };
  /** A worker's attempt up to the certificate, which is recorded and not active yet. */
  const issue = async (attempt: Device): Promise<string> => {
    const { certificateId } = await issuer.issue('rsa');
    await registry.recordCertificate(attempt, { certificateId, keptReply: 'sealed' });
    return certificateId;
  };

  return {
    deps,
    registry,
    aws,
    rows,
    /** each event on the audit trail: its name and fields */
    events,
    /** each announcement: its serials */
    announced,
    /** the device's row; none when it was removed */
    row(serial: string): Device | undefined {
      const row = rows.get(serial);
      return row?.removedAt === undefined ? row : undefined;
    },
    certificate: (id: string) => aws.cloud.certificates.get(id),
    /** A device with an active certificate. @returns the certificate's id */
    async register(serial: string): Promise<string> {
      const attempt = await enrolAndClaim(serial);
      const certificateId = await issue(attempt);
      await issuer.ensureThing(serial);
      await issuer.attach({ certificateId, thingName: serial, policyName: 'cvm-device' });
      await issuer.activate(certificateId);
      await registry.finish(attempt, certificateId, 1);
      return certificateId;
    },
    /** A device whose attempt ended before its certificate went live. @returns the certificate's id */
    async leaveHalfDone(serial: string): Promise<string> {
      const attempt = await enrolAndClaim(serial);
      const certificateId = await issue(attempt);
      await registry.release(attempt);
      return certificateId;
    },
    /** A device for which a create call was sent that got no answer. */
    async loseAnswer(serial: string): Promise<void> {
      const attempt = await enrolAndClaim(serial);
      await registry.recordCreateIntent(attempt, { at: 1 });
      await registry.release(attempt);
    },
    /** A device that a worker is at: its lease ends after `now`. */
    async beProvisioned(serial: string): Promise<void> {
      await enrolAndClaim(serial);
      rows.set(serial, { ...(rows.get(serial) as Device), leaseUntil: now + 1 });
    },
  };
}

export type MemoryOperator = ReturnType<typeof createMemoryOperator>;
