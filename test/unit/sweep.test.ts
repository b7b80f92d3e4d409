import { beforeEach, describe, expect, it } from 'vitest';
import type { Issuer } from '../../issuer/issuer.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryRegistry, memoryRows } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { type ClaimRow, createClaimCertificates } from '../../registry/rules/claim-certificates.ts';
import { UpstreamRefused, UpstreamUnreachable } from '../../runtime/upstream.ts';
import { ownerTagOf } from '../../worker/ec-key.ts';
import { createForeignCertificates } from '../../worker/foreign-certificates.ts';
import { sweep } from '../../worker/sweep.ts';
import type { Finding } from '../../worker/sweep-findings.ts';
import { createMemoryIssuer, type StoredCertificate } from '../fakes/memory-issuer.ts';

const [graceMs, replayWindowMs, minute] = [900_000, 86_400_000, 60_000];
let now = 1_000_000_000;
const ownerTag = ownerTagOf('cvm-devices');
const ours = (serial: string) => ({ O: ownerTag.organization, OU: ownerTag.unit, CN: serial });
const byAws = { CN: 'AWS IoT Certificate' };

describe('a sweep', () => {
  let rows: Map<string, Device>;
  let registry: Registry;
  let aws: ReturnType<typeof createMemoryIssuer>;
  let found: Finding[];
  beforeEach(() => {
    now = 1_000_000_000;
    rows = new Map();
    registry = createMemoryRegistry(rows);
    aws = createMemoryIssuer({ now: () => now });
    found = [];
  });

  const long = 1_000_000_000 - 10 * graceMs;
  function row(serial: string, change: Partial<Device> = {}): void {
    const fresh: Device = { serial, tokenHash: 'h', state: 'enrolled', requestedAt: long, enrolledAt: 0, attempt: 1 };
    rows.set(serial, { ...fresh, ...change });
  }
  function certificate(id: string, change: Partial<StoredCertificate> = {}): void {
    aws.cloud.certificates.set(id, {
      active: false,
      policies: new Set(),
      keyDigest: `key of ${id}`,
      subject: byAws,
      createdAt: long,
      ...change,
    });
  }
  const run = (dryRun = false, issuer: Issuer = aws.issuer, foreign = createForeignCertificates(100)) =>
    sweep({
      foreign,
      registry,
      issuer,
      ownerTag,
      table: 'cvm-devices',
      graceMs,
      replayWindowMs,
      dryRun,
      now: () => now,
      report: (finding) => found.push(finding),
    });
  const left = () => [...aws.cloud.certificates.keys()];

  it('forgets a claim certificate thirty days after its end or its revocation, and not while a certificate waits by it', async () => {
    const claimRows = new Map<string, ClaimRow>();
    const claims = createClaimCertificates(memoryRows(claimRows));
    const day = 24 * 60 * minute;
    const usual = { group: 'g', templateName: 't', serials: '*', most: 5, mostAnHour: 5, createdAt: now };
    for (const id of ['ended', 'revoked', 'noted', 'in-force'])
      await claims.add({ ...usual, id, endsAt: now + (id === 'ended' ? day : 365 * day) });
    await claims.revoke('revoked', now + day);
    await claims.intend('noted', { id: 'a' }, now);
    await claims.revoke('noted', now + day);
    const sweepWith = (dryRun = false) =>
      sweep({
        ...{ registry, claims, issuer: aws.issuer, ownerTag, table: 'cvm-devices', graceMs, replayWindowMs, dryRun },
        now: () => now,
        report: (finding) => found.push(finding),
      });
    const listed = async () => (await claims.list()).map(({ id }) => id).sort();
    now += 31 * day - 1;
    await sweepWith();
    expect(await listed()).toEqual(['ended', 'in-force', 'noted', 'revoked']);
    now += 1;
    claimRows.set('#claim-noted', { ...claimRows.get('#claim-noted'), waiting: [`${now} b - - -`] });
    await sweepWith(true);
    expect(await listed()).toEqual(['ended', 'in-force', 'noted', 'revoked']);
    await sweepWith();
    expect(await listed()).toEqual(['in-force', 'noted']);
  });

  it('enters rows that another tool wrote in the index of sites, where it is used, and once', async () => {
    row('by-a-tool');
    row('ours', { changedAt: 5 });
    row('of-no-gateway', { site: '' });
    const options = { registry, issuer: aws.issuer, ownerTag, table: 'cvm-devices', graceMs, replayWindowMs };
    const sweepWith = (isUsed: boolean, dryRun = false) =>
      sweep({ ...options, dryRun, sites: { isUsed: async () => isUsed }, now: () => now, report: () => {} });
    expect(await sweepWith(false)).not.toHaveProperty('entered');
    expect(await sweepWith(true, true)).not.toHaveProperty('entered');
    expect(rows.get('by-a-tool')).not.toHaveProperty('changedAt');
    expect(await sweepWith(true)).toMatchObject({ entered: 1 });
    expect(rows.get('by-a-tool')).toMatchObject({ changedAt: now });
    expect(rows.get('ours')).toMatchObject({ changedAt: 5 });
    expect(await sweepWith(true)).not.toHaveProperty('entered');
  });

  it('finds nothing to do where table and AWS agree', async () => {
    row('A', { state: 'registered', certificateId: 'a', issuedAt: long });
    certificate('a', { active: true, thingName: 'A', policies: new Set(['p']) });
    expect(await run()).toMatchObject({ devices: 1, certificates: 1, findings: {} });
    expect(found).toEqual([]);
  });

  it('reports a registered device whose row names no certificate', async () => {
    row('A', { state: 'registered' });
    row('B', { state: 'enrolled' });
    row('C', { state: 'registered', tokenForm: 'not-hashed' });
    await run();
    expect(found.map(({ kind, serial, cure }) => [kind, serial, cure])).toEqual([
      ['certificate-missing', 'A', 'cvm devices reissue A'],
      ['row-faulty', 'C', expect.stringContaining('--from-table')],
    ]);
  });

  it('names a reissue, and not an unblocking, for a certificate that was revoked', async () => {
    row('A', { state: 'registered', certificateId: 'a', issuedAt: long });
    certificate('a', { thingName: 'A' });
    const inspect = aws.issuer.describeCertificate;
    aws.issuer.describeCertificate = async (id) => {
      const found = await inspect(id);
      return found && { ...found, status: 'other' };
    };
    await run();
    expect(found).toMatchObject([
      { kind: 'certificate-inactive', cure: expect.stringMatching(/^cvm devices reissue A/) },
    ]);
  });

  it('reports two devices whose rows name the same certificate', async () => {
    for (const serial of ['A', 'B']) row(serial, { state: 'registered', certificateId: 'a', issuedAt: long });
    certificate('a', { active: true, thingName: 'A' });
    await run();
    expect(found).toEqual([
      expect.objectContaining({
        kind: 'row-faulty',
        certificateId: 'a',
        cure: expect.stringMatching(/^A has the same/),
      }),
    ]);
  });

  it('deletes what was marked for deletion, and notes it', async () => {
    row('A', { pendingDeletion: ['a'] });
    certificate('a', { active: true, thingName: 'A', policies: new Set(['p']) });
    await run();
    expect(found).toEqual([
      { kind: 'certificate-pending-deletion', serial: 'A', certificateId: 'a', action: 'withdrawn' },
    ]);
    expect(left()).toEqual([]);
    expect(rows.get('A')).not.toHaveProperty('pendingDeletion');
  });

  it('abandons an attempt that was not continued, and lets the device apply again', async () => {
    row('A', { state: 'provisioning', leaseUntil: long, certificateId: 'a' });
    row('B', { state: 'enrolled', certificateId: 'b' });
    row('C', { state: 'provisioning', leaseUntil: long });
    for (const id of ['a', 'b']) certificate(id);
    await run();
    expect(found.map(({ serial, action }) => [serial, action])).toEqual([
      ['A', 'withdrawn'],
      ['B', 'withdrawn'],
      ['C', 'released'],
    ]);
    expect(left()).toEqual([]);
    for (const serial of ['A', 'B', 'C']) expect(rows.get(serial)).toMatchObject({ state: 'enrolled', attempt: 2 });
  });

  it('leaves alone an attempt that may still be under way', async () => {
    row('A', { state: 'provisioning', leaseUntil: now + 1, requestedAt: long, certificateId: 'a' });
    row('B', { state: 'provisioning', leaseUntil: long, requestedAt: now - minute, certificateId: 'b' });
    for (const id of ['a', 'b']) certificate(id);
    await run();
    expect([found, left()]).toEqual([[], ['a', 'b']]);
  });

  it('reports an ACTIVE certificate of a device that its row does not name, with the cure, and leaves it', async () => {
    row('A', { state: 'registered', certificateId: 'a', issuedAt: long });
    certificate('a', { active: true, thingName: 'A', policies: new Set(['p']) });
    certificate('later', { active: true, thingName: 'A', policies: new Set(['p']) });
    certificate('foreign', { active: true, thingName: 'of another fleet', policies: new Set(['p']) });
    certificate('young', { active: true, thingName: 'A', policies: new Set(['p']), createdAt: now });
    await run();
    expect(found).toContainEqual({
      kind: 'certificate-unexpected',
      serial: 'A',
      certificateId: 'later',
      action: 'reported',
      cure: 'cvm devices reissue A: its next certificate replaces all others',
    });
    expect(found).toContainEqual({ kind: 'certificate-unknown', certificateId: 'foreign', action: 'reported' });
    expect(found).toHaveLength(2);
    expect(left()).toHaveLength(4);
  });

  it('looks at a bounded number of ACTIVE certificates of others, and at all of them in the end', async () => {
    for (const id of ['1', '2', '3']) certificate(id, { active: true, thingName: `foreign ${id}` });
    const foreign = createForeignCertificates(2);
    const looked = async () => {
      found = [];
      await run(false, aws.issuer, foreign);
      return found.map(({ certificateId }) => certificateId).sort();
    };
    expect([await looked(), await looked(), await looked()]).toEqual([['2', '3'], ['1'], ['2', '3']]);
  });

  it('removes the thing that a frozen worker made again after its device was removed, and then forgets the device', async () => {
    row('A', { state: 'blocked', removal: 'with-thing' });
    await run();
    expect(await registry.find('A')).toBeUndefined();
    found = [];
    aws.cloud.things.add('A');
    await run(true);
    expect([found, aws.cloud.things.size]).toEqual([[{ kind: 'thing-unnamed', serial: 'A', action: 'removed' }], 1]);
    await run();
    expect([aws.cloud.things.size, rows.size]).toEqual([0, 1]);
    now += 25 * 60 * minute;
    await run();
    expect(rows.size).toBe(0);
  });

  it('leaves the thing of a device that was enrolled again', async () => {
    row('A', { state: 'blocked', removal: 'with-thing' });
    await run();
    await registry.enrol({ serial: 'A', tokenHash: 'h2', enrolledAt: now });
    aws.cloud.things.add('A');
    await run();
    expect(aws.cloud.things.size).toBe(1);
  });

  it('erases the reply of a device that never acknowledged, some time after it may ask for it', async () => {
    const live = { state: 'registered' as const, certificateId: 'a', keptReply: 'sealed' };
    row('A', { ...live, issuedAt: now - 2 * replayWindowMs - 1 });
    row('B', { ...live, issuedAt: now - 2 * replayWindowMs + 1 });
    certificate('a', { active: true, thingName: 'A', policies: new Set(['p']) });
    await run();
    expect([rows.get('A')?.keptReply, rows.get('B')?.keptReply]).toEqual([undefined, 'sealed']);
  });

  it('never touches a row that another tool wrote', async () => {
    row('A', { state: 'enrolled', attempt: 0, certificateId: 'a' });
    certificate('a');
    await run();
    expect([found, left()]).toEqual([[], ['a']]);
  });

  describe('of a create call whose answer was lost', () => {
    it('deletes the certificate with the key that was written down, whenever it was made', async () => {
      row('A', { numberedIntents: { 1: { at: long, keyDigest: 'key of a' } } });
      certificate('a', { createdAt: long + 2 * minute, subject: { CN: 'whatever' } });
      await run();
      expect(found).toEqual([{ kind: 'answer-lost', serial: 'A', certificateId: 'a', action: 'withdrawn' }]);
      expect(left()).toEqual([]);
      expect(rows.get('A')).not.toHaveProperty('creates');
    });

    it('deletes the certificate of that time, where AWS made the key', async () => {
      row('A', { numberedIntents: { 1: { at: long } } });
      certificate('a', { createdAt: long + 1000 });
      await run();
      expect(found).toMatchObject([{ kind: 'answer-lost', certificateId: 'a', action: 'withdrawn' }]);
      expect(left()).toEqual([]);
    });

    it.each([
      ['was made at another time', { createdAt: long + 10 * minute }],
      ['is active', { active: true }],
      ['is attached to something', { policies: new Set(['theirs']) }],
      ['was made from a CSR', { subject: { CN: 'another product' } }],
      ['is of another gateway', { subject: { O: 'cvm-gateway', OU: 'other-table', CN: 'A' } }],
    ])('reports, and leaves, a certificate that %s', async (_what, change) => {
      row('A', { numberedIntents: { 1: { at: long } } });
      certificate('a', { createdAt: long, ...change });
      await run();
      expect(found).toEqual([{ kind: 'certificate-unknown', certificateId: 'a', action: 'reported' }]);
      expect(left()).toEqual(['a']);
    });

    it('leaves all of them where there are more than it has calls without an answer', async () => {
      row('A', { numberedIntents: { 1: { at: long } } });
      for (const id of ['a', 'b']) certificate(id, { createdAt: long + 1000 });
      await run();
      expect(found.map(({ kind }) => kind)).toEqual(['certificate-unknown', 'certificate-unknown']);
      expect(left()).toEqual(['a', 'b']);
    });

    it('keeps the note while a certificate may still appear', async () => {
      const numberedIntents = { 1: { at: now - graceMs - 1000 } };
      row('A', { numberedIntents });
      await run();
      expect(rows.get('A')).toMatchObject({ numberedIntents });
    });

    it('does not take a certificate that was recorded meanwhile', async () => {
      row('A', { numberedIntents: { 1: { at: long, keyDigest: 'key of a' } }, state: 'provisioning', leaseUntil: now });
      certificate('a');
      const inspect = aws.issuer.describeCertificate;
      aws.issuer.describeCertificate = async (id) => {
        rows.set('A', { ...(rows.get('A') as Device), certificateId: 'a', state: 'registered', issuedAt: long });
        return inspect(id);
      };
      await run();
      expect(found).toMatchObject([{ kind: 'answer-lost', action: 'left' }]);
      expect(left()).toEqual(['a']);
    });
  });

  it('deletes what has our owner tag and no row names, once it is old enough', async () => {
    certificate('old', { subject: ours('GONE') });
    certificate('young', { subject: ours('NEW'), createdAt: now - minute });
    await run();
    expect(found).toEqual([{ kind: 'certificate-unnamed', serial: 'GONE', certificateId: 'old', action: 'withdrawn' }]);
    expect(left()).toEqual(['young']);
  });

  it('reports what has our owner tag and is attached: a person deleted its row by hand', async () => {
    certificate('a', { subject: ours('GONE'), thingName: 'GONE', policies: new Set(['p']) });
    await run();
    expect(found).toMatchObject([{ kind: 'certificate-unnamed', serial: 'GONE', action: 'reported' }]);
    expect(left()).toEqual(['a']);
  });

  it("deactivates a blocked device's certificate", async () => {
    row('A', { state: 'blocked', certificateId: 'a', issuedAt: long });
    certificate('a', { active: true });
    await run();
    expect(found).toMatchObject([{ kind: 'blocked-but-active', action: 'deactivated' }]);
    expect(aws.cloud.certificates.get('a')?.active).toBe(false);
  });

  it("reports what is wrong with a registered device's certificate, and the cure", async () => {
    row('A', { state: 'registered', certificateId: 'gone', issuedAt: long });
    row('B', { state: 'registered', certificateId: 'b', issuedAt: long });
    certificate('b');
    await run();
    expect(found.map(({ kind, action, cure }) => [kind, action, cure])).toEqual([
      ['certificate-inactive', 'reported', expect.stringContaining('unblock B')],
      ['certificate-missing', 'reported', expect.stringContaining('reissue A')],
    ]);
  });

  it('finishes a removal that was interrupted', async () => {
    row('A', { state: 'blocked', removal: 'with-thing', pendingDeletion: ['a'], numberedIntents: { 1: { at: long } } });
    certificate('a', { thingName: 'A', policies: new Set(['p']) });
    aws.cloud.things.add('A');
    await run();
    expect([left(), await registry.find('A'), aws.cloud.things.size]).toEqual([[], undefined, 0]);
  });

  describe('of which one step fails', () => {
    const refused = new UpstreamRefused('iot:DeleteCertificate', new Error('no permission'), 'permit it');
    const deleting = (error: Error) => ({
      ...aws.issuer,
      withdraw: async (certificateId: string) => {
        if (certificateId.startsWith('stuck')) throw error;
        await aws.issuer.withdraw(certificateId);
      },
    });
    beforeEach(() => {
      for (const serial of ['A', 'B', 'C']) {
        const id = serial === 'B' ? 'b' : `stuck-${serial}`;
        row(serial, { state: 'provisioning', leaseUntil: long, certificateId: id });
        certificate(id);
      }
      row('D', { numberedIntents: { 1: { at: long, keyDigest: 'key of stuck-d' } } });
      certificate('stuck-d');
    });

    function stick(serial: string): void {
      row(serial, { state: 'provisioning', leaseUntil: long, certificateId: `stuck-${serial}` });
      certificate(`stuck-${serial}`);
    }

    it('reports it with the cure, and goes on', async () => {
      expect(await run(false, deleting(refused))).toMatchObject({ complete: true });
      const cure = expect.stringMatching(/no permission.*permit it/);
      expect(found).toEqual([
        { kind: 'repair-failed', serial: 'A', action: 'reported', cure },
        { kind: 'attempt-expired', serial: 'B', certificateId: 'b', action: 'withdrawn' },
        { kind: 'repair-failed', serial: 'C', action: 'reported', cure },
        { kind: 'repair-failed', serial: 'D', certificateId: 'stuck-d', action: 'reported', cure },
      ]);
    });

    it('never calls withdrawn what is still there, and the next sweep finishes it', async () => {
      await run(false, deleting(refused));
      expect(left()).toEqual(['stuck-A', 'stuck-C', 'stuck-d']);
      found = [];
      await run();
      expect(left()).toEqual([]);
      expect(found.filter(({ kind }) => kind === 'repair-failed')).toEqual([]);
    });

    it('goes on after unexpected errors one after the other, while AWS answers, also at the next sweep', async () => {
      for (const serial of ['E', 'F', 'G']) stick(serial);
      row('Z', { state: 'provisioning', leaseUntil: long, certificateId: 'z' });
      certificate('z');
      for (const _sweep of [1, 2]) {
        expect(await run(false, deleting(new Error('odd')))).toMatchObject({ complete: true });
        expect(rows.get('Z')).toMatchObject({ state: 'enrolled', attempt: 2 });
      }
      expect(left()).not.toContain('z');
    });

    it('ends after unexpected errors one after the other when AWS does not answer any more', async () => {
      for (const serial of ['E', 'F', 'G']) stick(serial);
      let listed = 0;
      const silent = {
        ...deleting(new Error('odd')),
        listCertificates() {
          if (++listed > 1) throw new Error('away');
          return aws.issuer.listCertificates();
        },
      };
      await expect(run(false, silent)).rejects.toThrow('odd');
    });

    it('goes on behind a certificate that cannot be looked at, and keeps what it may belong to', async () => {
      certificate('odd', { subject: byAws, createdAt: long });
      row('P', { numberedIntents: { 1: { at: long } } });
      row('Q', { numberedIntents: { 1: { at: long + 60 * minute } } });
      certificate('late', { subject: ours('GONE') });
      const issuer = {
        ...aws.issuer,
        describeCertificate: async (id: string) => {
          if (id === 'odd') throw new Error('no certificate that can be read');
          return aws.issuer.describeCertificate(id);
        },
      };
      expect(await run(false, issuer)).toMatchObject({ complete: true });
      expect(found).toContainEqual(expect.objectContaining({ kind: 'repair-failed', certificateId: 'odd' }));
      expect(found).toContainEqual(expect.objectContaining({ kind: 'certificate-unnamed', certificateId: 'late' }));
      expect(left()).toContain('odd');
      // the certificate may be what the create call of P made; that of Q was an hour later
      expect([rows.get('P')?.numberedIntents, rows.get('Q')?.numberedIntents]).toEqual([
        { 1: { at: long } },
        undefined,
      ]);
    });

    it('ends when AWS is away', async () => {
      await expect(run(false, deleting(new UpstreamUnreachable('x', new Error('away'))))).rejects.toThrow('away');
    });
  });

  it('changes nothing when it is only to say what it would do', async () => {
    row('A', { pendingDeletion: ['a'], numberedIntents: { 1: { at: long, keyDigest: 'key of b' } } });
    row('C', { state: 'provisioning', leaseUntil: long, certificateId: 'c' });
    for (const id of ['a', 'b', 'c']) certificate(id);
    const before = JSON.stringify([[...rows], left()]);
    const summary = await run(true);
    expect(JSON.stringify([[...rows], left()])).toBe(before);
    expect(summary).toMatchObject({
      dryRun: true,
      findings: { 'certificate-pending-deletion': 1, 'answer-lost': 1, 'attempt-expired': 1 },
    });
  });

  it('ends early when it is told to, and then resolves nothing', async () => {
    row('A', { numberedIntents: { 1: { at: long, keyDigest: 'key of a' } } });
    certificate('a');
    const summary = await sweep({
      registry,
      issuer: aws.issuer,
      ownerTag,
      table: 'cvm-devices',
      graceMs,
      replayWindowMs,
      dryRun: false,
      now: () => now,
      report: () => {},
      stopped: () => true,
    });
    expect(summary).toMatchObject({ complete: false });
    expect([left(), rows.get('A')?.numberedIntents]).toEqual([['a'], { 1: { at: long, keyDigest: 'key of a' } }]);
  });
});
