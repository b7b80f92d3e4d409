import { beforeEach, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { type Ask, boxOf } from '../../queue/ask.ts';
import type { KeptReply, ReplyStore, SealedReply } from '../../queue/replies.ts';
import { deriveReplyKeys, openAnswer } from '../../queue/sealing.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import type { Certificate, Issuer, KeySource } from '../../worker/issuer.ts';
import { CsrRefused, IssuerRefused, IssuerThrottled } from '../../worker/issuer.ts';
import { acknowledge, type Cycle, provision } from '../../worker/provision.ts';

const [serial, token] = ['SN-1', 'correct-horse-battery-staple'];
const keys = deriveReplyKeys(serial, token);
const box = boxOf(serial, hashToken(token));
const ask: Ask = {
  askId: 'ask-1',
  serial,
  tokenHash: hashToken(token),
  replyKey: keys.publicKey,
  key: 'rsa',
  receivedAt: 0,
};

/** An issuer that writes down what was done, in order, and fails where it is told to. */
function journalIssuer() {
  const journal: string[] = [];
  const live = new Set<string>();
  const fail = new Map<string, Error>();
  let made = 0;
  const step = async (name: string) => {
    const error = fail.get(name);
    if (error) throw error;
    journal.push(name);
  };
  const issuer: Issuer = {
    async issue(key: KeySource): Promise<Certificate> {
      await step('issue');
      const certificateId = `cert-${++made}`;
      return {
        certificateId,
        certificateArn: `arn:${certificateId}`,
        certificatePem: 'PEM',
        ...(key === 'rsa' ? { privateKeyPem: `KEY-${made}` } : {}),
      };
    },
    ensureThing: () => step('ensureThing'),
    attach: ({ certificateId }) => step(`attach ${certificateId}`),
    async activate(certificateId) {
      await step('activate');
      live.add(certificateId);
    },
    async deactivate(certificateId) {
      await step(`deactivate ${certificateId}`);
      live.delete(certificateId);
    },
    async withdraw(certificateId) {
      await step(`withdraw ${certificateId}`);
      live.delete(certificateId);
    },
    endpoint: async () => 'endpoint.example',
  };
  return { issuer, journal, live, fail };
}

function memoryReplies() {
  const kept = new Map<string, KeptReply>();
  const delivered: SealedReply[] = [];
  const replies: ReplyStore = {
    deliver: async (reply) => void delivered.push(reply),
    keep: async (key, reply) => void kept.set(key, reply),
    kept: async (key) => kept.get(key),
    erase: async (key) => void kept.delete(key),
    close: async () => {},
  };
  return { replies, kept, delivered };
}

describe('the issuance cycle', () => {
  let now: number;
  let registry: Registry;
  let aws: ReturnType<typeof journalIssuer>;
  let mail: ReturnType<typeof memoryReplies>;
  let cycle: Cycle;
  const answer = () => openAnswer(keys, box, mail.delivered.at(-1)?.sealed ?? '');

  beforeEach(async () => {
    now = 1_000_000;
    registry = createMemoryRegistry();
    aws = journalIssuer();
    mail = memoryReplies();
    cycle = {
      registry,
      issuer: aws.issuer,
      replies: mail.replies,
      rootCaPem: 'ROOT',
      policyName: 'cvm-device',
      replayWindowMs: 86_400_000,
      leaseMs: 10_000,
      now: () => now,
    };
    await registry.enrol({ serial, tokenHash: hashToken(token), enrolledAt: 0 });
  });

  it('goes live last: recorded and sealed before it is attached, attached before it is active', async () => {
    expect(await provision(ask, cycle)).toEqual({ outcome: 'accepted', certificateId: 'cert-1', again: false });
    expect(aws.journal.filter((name) => name !== 'ensureThing')).toEqual(['issue', 'attach cert-1', 'activate']);
    expect(await registry.find(serial)).toMatchObject({ applyState: -1, certificateId: 'cert-1' });
    expect(answer()).toEqual({
      accepted: {
        certificateId: 'cert-1',
        certificatePem: 'PEM',
        privateKeyPem: 'KEY-1',
        thingName: serial,
        endpoint: 'endpoint.example',
        rootCaPem: 'ROOT',
      },
    });
  });

  it('answers the second question from the kept reply, without a call to AWS', async () => {
    await provision(ask, cycle);
    const calls = aws.journal.length;
    expect(await provision({ ...ask, askId: 'ask-2' }, cycle)).toEqual({
      outcome: 'accepted',
      certificateId: 'cert-1',
      again: true,
    });
    expect(aws.journal).toHaveLength(calls);
    expect(mail.delivered.at(-1)).toEqual({ ...mail.delivered[0], askId: 'ask-2' });
  });

  it('refuses the second question when the replay window is over, and erases the reply', async () => {
    await provision(ask, cycle);
    now += cycle.replayWindowMs;
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'rejected', problem: { code: 'AlreadyProvisioned' } });
    expect(mail.kept.size).toBe(0);
    expect(aws.live).toEqual(new Set(['cert-1']));
  });

  it('withdraws the certificate whose reply is lost before another goes live: still one', async () => {
    await provision(ask, cycle);
    mail.kept.clear();
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2', again: false });
    expect(aws.live).toEqual(new Set(['cert-2']));
    expect(aws.journal.indexOf('withdraw cert-1')).toBeLessThan(aws.journal.lastIndexOf('issue'));
    expect(await registry.find(serial)).toMatchObject({ applyState: -1, certificateId: 'cert-2' });
  });

  it('is spent for good when the device acknowledges, and the reply is erased', async () => {
    await provision(ask, cycle);
    const ack = { serial, tokenHash: ask.tokenHash, certificateId: 'cert-1' };
    expect(await acknowledge(ack, cycle)).toBe(true);
    expect(mail.kept.size).toBe(0);
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'rejected', problem: { code: 'AlreadyProvisioned' } });
    expect(await acknowledge(ack, cycle)).toBe(true);
    expect(aws.live).toEqual(new Set(['cert-1']));
  });

  it('is not spent by an acknowledgement of another certificate or token', async () => {
    await provision(ask, cycle);
    expect(await acknowledge({ serial, tokenHash: ask.tokenHash, certificateId: 'cert-9' }, cycle)).toBe(false);
    expect(await acknowledge({ serial, tokenHash: hashToken('x'), certificateId: 'cert-1' }, cycle)).toBe(false);
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted', again: true });
  });

  it('refuses a second question with another key, and keeps the first certificate', async () => {
    await provision({ ...ask, csrPem: 'CSR', keyDigest: 'one' }, cycle);
    expect(await provision({ ...ask, csrPem: 'CSR2', keyDigest: 'two' }, cycle)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'KeyMismatch' },
    });
    expect(await provision({ ...ask, csrPem: 'CSR', keyDigest: 'one' }, cycle)).toMatchObject({
      outcome: 'accepted',
      certificateId: 'cert-1',
      again: true,
    });
    expect(aws.live).toEqual(new Set(['cert-1']));
  });

  it('certifies the new key of a device that changed it before the first attempt ended', async () => {
    aws.fail.set('activate', new Error('away'));
    await expect(provision({ ...ask, csrPem: 'CSR', keyDigest: 'one' }, cycle)).rejects.toThrow();
    aws.fail.clear();
    expect(await provision({ ...ask, csrPem: 'CSR2', keyDigest: 'two' }, cycle)).toMatchObject({
      outcome: 'accepted',
      certificateId: 'cert-2',
    });
    expect(aws.journal).toContain('withdraw cert-1');
    expect(aws.live).toEqual(new Set(['cert-2']));
  });

  it('refuses a wrong token before anything is made', async () => {
    expect(await provision({ ...ask, tokenHash: hashToken('x') }, cycle)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'InvalidToken' },
    });
    expect(aws.journal).toEqual([]);
  });

  it.each(['attach cert-1', 'activate'])('carries on with the same certificate after an outage at %s', async (step) => {
    aws.fail.set(step, new Error('away'));
    await expect(provision(ask, cycle)).rejects.toThrow('away');
    aws.fail.clear();
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
    expect(aws.live).toEqual(new Set(['cert-1']));
  });

  it('withdraws the recorded certificate whose sealed reply is gone before it issues another', async () => {
    aws.fail.set('attach cert-1', new Error('away'));
    await expect(provision(ask, cycle)).rejects.toThrow('away');
    mail.kept.clear();
    aws.fail.clear();
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.journal).toContain('withdraw cert-1');
    expect(aws.journal.indexOf('withdraw cert-1')).toBeLessThan(aws.journal.lastIndexOf('issue'));
    expect(aws.live).toEqual(new Set(['cert-2']));
  });

  it('does not wait for its own lease after an outage', async () => {
    aws.fail.set('issue', new IssuerThrottled('CreateKeysAndCertificate'));
    await expect(provision(ask, cycle)).rejects.toThrow(IssuerThrottled);
    aws.fail.clear();
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted' });
  });

  it('takes back what it made when its lease was lost meanwhile', async () => {
    const slow: Issuer = {
      ...aws.issuer,
      async issue(key) {
        const made = await aws.issuer.issue(key);
        now += cycle.leaseMs + 1;
        await registry.claim({ serial, tokenHash: ask.tokenHash, now, leaseMs: cycle.leaseMs });
        return made;
      },
    };
    expect(await provision(ask, { ...cycle, issuer: slow })).toMatchObject({ outcome: 'busy' });
    expect(aws.journal).toContain('withdraw cert-1');
    expect(mail.delivered).toEqual([]);
  });

  it('is busy while another attempt of the same device holds the lease', async () => {
    await registry.claim({ serial, tokenHash: ask.tokenHash, now, leaseMs: cycle.leaseMs, claimant: 'another' });
    expect(await provision(ask, cycle)).toEqual({ outcome: 'busy', untilMs: now + cycle.leaseMs });
  });

  it('gives the right back when AWS refuses the CSR', async () => {
    aws.fail.set('issue', new CsrRefused('unsupported key'));
    expect(await provision({ ...ask, csrPem: 'CSR' }, cycle)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'InvalidCsr' },
    });
    expect(await registry.find(serial)).toMatchObject({ applyState: 0 });
  });

  it("makes an 'ec' key at the gateway, certifies it through a CSR and hands it over", async () => {
    expect(await provision({ ...ask, key: 'ec' }, cycle)).toMatchObject({ outcome: 'accepted' });
    expect(answer()).toMatchObject({ accepted: { privateKeyPem: expect.stringContaining('PRIVATE KEY') } });
  });

  it('reissued: withdraws the old certificate when the new one is ready, and not before', async () => {
    await provision(ask, cycle);
    const device = await registry.find(serial);
    if (device === undefined) throw new Error('not found');
    const newToken = 'another-horse-another-battery';
    await registry.reissue(device, hashToken(newToken));
    const again = { ...ask, tokenHash: hashToken(newToken), replyKey: deriveReplyKeys(serial, newToken).publicKey };
    aws.fail.set('attach cert-2', new Error('away'));
    await expect(provision(again, cycle)).rejects.toThrow('away');
    expect(aws.live).toEqual(new Set(['cert-1']));
    aws.fail.clear();
    expect(await provision(again, cycle)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.live).toEqual(new Set(['cert-2']));
    const order = aws.journal.filter((name) => /cert-1|activate/.test(name)).slice(-3);
    expect(order).toEqual(['deactivate cert-1', 'activate', 'withdraw cert-1']);
  });

  it('tells the device to come back, and the operator what to change, where AWS refuses for good', async () => {
    aws.fail.set('attach cert-1', new IssuerRefused('AttachPolicy', new Error('no such policy'), 'create the policy'));
    expect(await provision(ask, cycle)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'UpstreamUnavailable', retryAfterSeconds: 300 },
      cause: { cure: 'create the policy' },
    });
    aws.fail.clear();
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
  });

  it('begins anew when AWS no longer knows the certificate of an earlier attempt', async () => {
    aws.fail.set('activate', new Error('away'));
    await expect(provision(ask, cycle)).rejects.toThrow('away');
    aws.fail.clear();
    aws.fail.set('attach cert-1', new IssuerRefused('AttachPolicy', new Error('no such certificate'), 'cure'));
    expect(await provision(ask, cycle)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'UpstreamUnavailable' },
    });
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.live).toEqual(new Set(['cert-2']));
  });

  it('leaves nothing live when the operator blocks the device in the middle of an attempt', async () => {
    const blocking: Issuer = {
      ...aws.issuer,
      async activate(certificateId) {
        const row = await registry.find(serial);
        if (row) await registry.block(row);
        await aws.issuer.activate(certificateId);
      },
    };
    expect(await provision(ask, { ...cycle, issuer: blocking })).toMatchObject({ outcome: 'busy' });
    expect(aws.live).toEqual(new Set());
    expect(mail.delivered).toEqual([]);
    expect(await provision(ask, cycle)).toMatchObject({ outcome: 'rejected', problem: { code: 'Forbidden' } });
  });

  it('uses policy, thing type and thing group that the row names', async () => {
    const other = 'SN-2';
    await registry.enrol({
      serial: other,
      tokenHash: ask.tokenHash,
      enrolledAt: 0,
      policyName: 'special',
      thingGroupName: 'plant',
      thingTypeName: 'pump',
    });
    const seen: unknown[] = [];
    const issuer: Issuer = {
      ...aws.issuer,
      attach: async (identity) => void seen.push(identity),
      ensureThing: async (...thing) => void seen.push(thing),
    };
    await provision({ ...ask, serial: other }, { ...cycle, issuer });
    expect(seen).toEqual([
      [other, 'pump'],
      { certificateId: 'cert-1', thingName: other, policyName: 'special', thingGroupName: 'plant' },
    ]);
  });
});
