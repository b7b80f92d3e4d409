import { beforeEach, describe, expect, it } from 'vitest';
import { CsrRefused, type Issuer } from '../../issuer/issuer.ts';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import { type ProvisioningRequest, recipientIdOf } from '../../queue/provisioning-request.ts';
import type { SealedReply } from '../../queue/replies.ts';
import { unlimitedWrongTokens } from '../../queue/token-attempts.ts';
import { createIntentsOf } from '../../registry/create-intents.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { UpstreamRefused, UpstreamThrottled } from '../../runtime/upstream.ts';
import { deriveReplyKeys, openAnswer, sealer } from '../../sealing/replies.ts';
import { readTemplate } from '../../templates/template.ts';
import { type ProvisionContext, provision } from '../../worker/provision.ts';
import { createRefusedKeys } from '../../worker/refused-keys.ts';
import { createSpareKeys } from '../../worker/spare-keys.ts';
import { type Call, type Cloud, createCloudIssuer } from '../fakes/memory-issuer.ts';
import { fleetTemplate } from '../support/fleet-device.ts';

const [serial, token] = ['SN-1', 'correct-horse-battery-staple'];
const keys = deriveReplyKeys(serial, token);
const recipientId = recipientIdOf(serial, hashToken(token));
const ask: ProvisioningRequest = {
  requestId: 'ask-1',
  serial,
  tokenHash: hashToken(token),
  replyKey: keys.publicKey,
  key: 'rsa',
  receivedAt: 0,
};

/** A cloud that writes down what was done, in order, and fails where it is told to: before it acts, or with a lost answer. */
function journalCloud(now: () => number) {
  const cloud: Cloud = { certificates: new Map(), things: new Set() };
  const journal: string[] = [];
  const fail = new Map<string, Error>();
  const lose = new Set<Call>();
  let made = 0;
  const issuer = createCloudIssuer(cloud, {
    now,
    makeId: () => `cert-${++made}`,
    readCsr: (csrPem) => ({ keyDigest: `digest of ${csrPem}`, subject: {} }),
    async step(call, act, about) {
      const error = fail.get(call) ?? fail.get(`${call} ${about}`);
      if (error) throw error;
      journal.push(`${call} ${about}`);
      const answer = act();
      if (lose.delete(call)) throw new Error('the answer was lost');
      return answer;
    },
  });
  const live = () => [...cloud.certificates].filter(([, { active }]) => active).map(([id]) => id);
  const count = (call: Call) => journal.filter((line) => line.startsWith(call)).length;
  return { issuer, cloud, journal, live, fail, lose, count };
}

function memoryReplies() {
  const delivered: SealedReply[] = [];
  return { replies: { deliver: async (reply: SealedReply) => void delivered.push(reply) }, delivered };
}

describe('the issuance cycle', () => {
  let now: number;
  let madeKeys = 0;
  let rows: Map<string, Device>;
  let registry: Registry;
  let notices: string[];
  let seen: Map<string, string>;
  let restoredAt: number | undefined;
  let aws: ReturnType<typeof journalCloud>;
  let mail: ReturnType<typeof memoryReplies>;
  let context: ProvisionContext;
  /** The row as an earlier version wrote it: without the reply. */
  const loseReply = () => {
    const { keptReply: _lost, ...row } = rows.get(serial) as Device;
    rows.set(serial, row);
  };
  const keptReply = () => rows.get(serial)?.keptReply;
  const intents = () => createIntentsOf(rows.get(serial) as Device).map(({ id: _claim, ...intent }) => intent);
  const answer = () => openAnswer(keys, recipientId, mail.delivered.at(-1)?.sealed ?? '');

  beforeEach(async () => {
    now = 1_000_000;
    [rows, notices, seen, restoredAt] = [new Map(), [], new Map(), undefined];
    registry = createMemoryRegistry(rows);
    aws = journalCloud(() => now);
    mail = memoryReplies();
    context = {
      registry,
      issuer: aws.issuer,
      replies: mail.replies,
      rootCaPem: 'ROOT',
      policyName: 'cvm-device',
      replayWindowMs: 86_400_000,
      leaseMs: 10_000,
      now: () => now,
      seal: sealer,
      seen: { last: async (name) => seen.get(name), note: async (name, id) => void seen.set(name, id) },
      earlierReplies: { kept: async () => undefined },
      restoredAt: async () => restoredAt,
      notices: {
        reopened: (_request, certificateId) => void notices.push(`reopened ${certificateId}`),
        otherWithdrawn: (_request, certificateId) => void notices.push(`other withdrawn ${certificateId}`),
      },
      spareKeys: createSpareKeys(),
      refusedKeys: createRefusedKeys(),
      templates: new Map(),
      wrongTokens: unlimitedWrongTokens,
      makeKey: async () => {
        const csrPem = `own CSR ${++madeKeys}`;
        return { privateKeyPem: `PRIVATE KEY ${madeKeys}`, csrPem, keyDigest: `digest of ${csrPem}` };
      },
    };
    await registry.enrol({ serial, tokenHash: hashToken(token), enrolledAt: 0 });
  });

  it('goes live last: recorded and sealed before it is attached, attached before it is active', async () => {
    expect(await provision(ask, context)).toEqual({ outcome: 'accepted', certificateId: 'cert-1', again: false });
    expect(aws.journal.filter((line) => !/Thing|Endpoint/.test(line))).toEqual([
      'CreateCertificate a new one',
      'AttachPolicy cert-1',
      'Activate cert-1',
    ]);
    expect(await registry.find(serial)).toMatchObject({ state: 'registered', certificateId: 'cert-1' });
    expect(answer()).toEqual({
      status: 'accepted',
      credentials: {
        certificateId: 'cert-1',
        certificatePem: 'PEM cert-1',
        privateKeyPem: 'KEY cert-1',
        thingName: serial,
        endpoint: 'endpoint.example',
        rootCaPem: 'ROOT',
      },
    });
  });

  it('answers a repeated request from the kept reply, without a call to AWS', async () => {
    await provision(ask, context);
    const calls = aws.journal.length;
    expect(await provision({ ...ask, requestId: 'ask-2' }, context)).toEqual({
      outcome: 'accepted',
      certificateId: 'cert-1',
      again: true,
    });
    expect(aws.journal).toHaveLength(calls);
    expect(mail.delivered.at(-1)).toEqual({ ...mail.delivered[0], requestId: 'ask-2' });
  });

  it('refuses a repeated request when the replay window is over', async () => {
    await provision(ask, context);
    now += context.replayWindowMs;
    expect(await provision(ask, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'AlreadyProvisioned' },
    });
    expect(aws.live()).toEqual(['cert-1']);
  });

  it('keeps the reply to the end of the replay window, also of an attempt that carried on a day later', async () => {
    aws.fail.set('Activate', new Error('away'));
    await expect(provision(ask, context)).rejects.toThrow('away');
    aws.fail.clear();
    now += context.replayWindowMs - 1;
    await provision(ask, context);
    now += context.replayWindowMs - 1;
    expect(await provision(ask, context)).toMatchObject({ certificateId: 'cert-1', again: true });
  });

  it('keeps the reply to the end of the replay window, however long the last steps took', async () => {
    const slow: Issuer = {
      ...aws.issuer,
      async activate(certificateId) {
        now += context.leaseMs - 1;
        await aws.issuer.activate(certificateId);
      },
    };
    await provision(ask, { ...context, issuer: slow });
    now += context.replayWindowMs - 1;
    expect(await provision(ask, context)).toMatchObject({ certificateId: 'cert-1', again: true });
  });

  it('withdraws the certificate whose reply is lost before another goes live: still one', async () => {
    await provision(ask, context);
    loseReply();
    const now2 = { ...ask, receivedAt: now + 1 };
    expect(await provision(now2, context)).toMatchObject({
      outcome: 'accepted',
      certificateId: 'cert-2',
      again: false,
    });
    expect(notices).toEqual(['reopened cert-1']);
    expect(aws.live()).toEqual(['cert-2']);
    expect(aws.journal.indexOf('DeleteCertificate cert-1')).toBeLessThan(
      aws.journal.lastIndexOf('CreateCertificate a new one'),
    );
    expect(await registry.find(serial)).toMatchObject({ state: 'registered', certificateId: 'cert-2' });
  });

  it('never reopens a registered device for a request from before its certificate: that may be in use', async () => {
    now = 2_000_000;
    await provision({ ...ask, receivedAt: 1_000_000 }, context);
    loseReply();
    const before = rows.get(serial);
    expect(await provision({ ...ask, requestId: 'ask-2', receivedAt: 1_500_000 }, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'InternalFailure', retryAfterSeconds: 1 },
    });
    expect([aws.live(), rows.get(serial), notices]).toEqual([['cert-1'], before, []]);
  });

  it('gives the same answer at another gateway of the table, and after Redis was lost', async () => {
    await provision(ask, context);
    const elsewhere = { ...context, seen: { last: async () => undefined, note: async () => {} } };
    expect(await provision({ ...ask, requestId: 'ask-2' }, elsewhere)).toMatchObject({
      certificateId: 'cert-1',
      again: true,
    });
    expect(aws.live()).toEqual(['cert-1']);
  });

  describe('on a table that was restored from a backup', () => {
    const restore = async () => {
      const backup = rows.get(serial) as Device;
      await provision(ask, context);
      rows.set(serial, backup);
    };

    it('leaves one certificate: the one that the row does not name is deleted before another goes live', async () => {
      await restore();
      const again = { ...ask, requestId: 'ask-2' };
      expect(await provision(again, context)).toMatchObject({ certificateId: 'cert-2', again: false });
      expect(aws.live()).toEqual(['cert-2']);
      expect(notices).toEqual(['other withdrawn cert-1']);
      expect(aws.journal.indexOf('DeleteCertificate cert-1')).toBeLessThan(aws.journal.indexOf('Activate cert-2'));
    });

    it('also at a gateway that has not seen the device, where it is known that the table was restored', async () => {
      await restore();
      [seen, restoredAt] = [new Map(), now];
      expect(await provision({ ...ask, requestId: 'ask-2' }, context)).toMatchObject({ certificateId: 'cert-2' });
      expect(aws.live()).toEqual(['cert-2']);
    });

    it('does not ask AWS about a device that was enrolled long after', async () => {
      restoredAt = -91 * 86_400_000;
      await provision(ask, context);
      expect(aws.count('ListThingPrincipals')).toBe(0);
    });

    it('deletes the certificate of a device whose row was lost, and that was enrolled again after the restoration', async () => {
      await provision(ask, context);
      [seen, restoredAt] = [new Map(), now];
      rows.delete(serial);
      await registry.enrol({ serial, tokenHash: ask.tokenHash, enrolledAt: now + 3_600_000 });
      expect(await provision({ ...ask, requestId: 'ask-2' }, context)).toMatchObject({ certificateId: 'cert-2' });
      expect(aws.live()).toEqual(['cert-2']);
    });

    it('looks again when an attempt died before it had deleted the other certificate', async () => {
      await restore();
      aws.fail.set('DeleteCertificate', new Error('away'));
      await expect(provision(ask, context)).rejects.toThrow('away');
      aws.fail.clear();
      expect(await provision(ask, context)).toMatchObject({ certificateId: 'cert-2' });
      expect(aws.live()).toEqual(['cert-2']);
    });

    it('asks AWS for the certificates of a thing only where there is a reason to', async () => {
      await provision(ask, context);
      expect(aws.count('ListThingPrincipals')).toBe(0);
    });
  });

  it('deletes whatever certificate the thing of a reissued device has', async () => {
    await provision(ask, context);
    const { certificateId: stray } = await aws.issuer.issue('rsa');
    await aws.issuer.attach({ certificateId: stray, thingName: serial, policyName: 'cvm-device' });
    await aws.issuer.activate(stray);
    await registry.reissue(rows.get(serial) as Device, { tokenHash: hashToken('the-second-token-of-it') });
    await provision({ ...ask, tokenHash: hashToken('the-second-token-of-it') }, context);
    expect(aws.live()).toEqual(['cert-3']);
    expect(notices).toEqual([`other withdrawn ${stray}`]);
  });

  it('is spent for good when the device acknowledges, and the reply is erased', async () => {
    await provision(ask, context);
    expect(keptReply()).toBeDefined();
    const acknowledge = () => registry.acknowledge(serial, ask.tokenHash, 'cert-1', now);
    expect(await acknowledge()).toBe(true);
    expect(keptReply()).toBeUndefined();
    expect(await provision(ask, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'AlreadyProvisioned' },
    });
    expect(await acknowledge()).toBe(true);
    expect(aws.live()).toEqual(['cert-1']);
  });

  it('is not spent by an acknowledgement of another certificate or token', async () => {
    await provision(ask, context);
    expect(await registry.acknowledge(serial, ask.tokenHash, 'cert-9', now)).toBe(false);
    expect(await registry.acknowledge(serial, hashToken('x'), 'cert-1', now)).toBe(false);
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', again: true });
  });

  it('refuses a second request with another key, and keeps the first certificate', async () => {
    await provision({ ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' }, context);
    expect(await provision({ ...ask, csrPem: 'CSR2', keyDigest: 'digest of CSR2' }, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'KeyMismatch' },
    });
    expect(await provision({ ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' }, context)).toMatchObject({
      outcome: 'accepted',
      certificateId: 'cert-1',
      again: true,
    });
    expect(aws.live()).toEqual(['cert-1']);
  });

  it.each<[string, Partial<typeof ask>, Partial<typeof ask>]>([
    ['without its CSR, after a certificate for a CSR', { csrPem: 'CSR', keyDigest: 'digest of CSR' }, {}],
    ['with a CSR, after a certificate without one', {}, { csrPem: 'CSR', keyDigest: 'digest of CSR' }],
  ])('refuses a second request %s: the device would have no key to it', async (_what, first, second) => {
    await provision({ ...ask, ...first }, context);
    const refused = { outcome: 'rejected', problem: { code: 'KeyMismatch' } };
    expect(await provision({ ...ask, ...second }, context)).toMatchObject(refused);
    expect(await provision({ ...ask, ...first }, context)).toMatchObject({ outcome: 'accepted', again: true });
    expect(aws.live()).toEqual(['cert-1']);
  });

  it('certifies the new key of a device that changed it before the first attempt ended', async () => {
    aws.fail.set('Activate', new Error('away'));
    await expect(provision({ ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' }, context)).rejects.toThrow();
    aws.fail.clear();
    expect(await provision({ ...ask, csrPem: 'CSR2', keyDigest: 'digest of CSR2' }, context)).toMatchObject({
      outcome: 'accepted',
      certificateId: 'cert-2',
    });
    expect(aws.journal).toContain('DeleteCertificate cert-1');
    expect(aws.live()).toEqual(['cert-2']);
  });

  it('refuses a wrong token before anything is made', async () => {
    expect(await provision({ ...ask, tokenHash: hashToken('x') }, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'InvalidToken' },
    });
    expect(aws.journal).toEqual([]);
  });

  it.each(['AttachPolicy cert-1', 'AttachThingPrincipal', 'Activate'])(
    'carries on with the same certificate after an outage at %s',
    async (step) => {
      aws.fail.set(step, new Error('away'));
      await expect(provision(ask, context)).rejects.toThrow('away');
      aws.fail.clear();
      expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
      expect(aws.live()).toEqual(['cert-1']);
    },
  );

  it('withdraws the recorded certificate whose sealed reply is gone before it issues another', async () => {
    aws.fail.set('AttachPolicy cert-1', new Error('away'));
    await expect(provision(ask, context)).rejects.toThrow('away');
    loseReply();
    aws.fail.clear();
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.journal).toContain('DeleteCertificate cert-1');
    expect(aws.journal.indexOf('DeleteCertificate cert-1')).toBeLessThan(
      aws.journal.lastIndexOf('CreateCertificate a new one'),
    );
    expect(aws.live()).toEqual(['cert-2']);
  });

  it('does not wait for its own lease after an outage', async () => {
    aws.fail.set('CreateCertificate', new UpstreamThrottled('CreateKeysAndCertificate'));
    await expect(provision(ask, context)).rejects.toThrow(UpstreamThrottled);
    aws.fail.clear();
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted' });
  });

  it('takes back what it made when its lease was lost meanwhile', async () => {
    const slow: Issuer = {
      ...aws.issuer,
      async issue(key) {
        const made = await aws.issuer.issue(key);
        now += context.leaseMs + 1;
        await registry.claim({ serial, tokenHash: ask.tokenHash, now, leaseMs: context.leaseMs });
        return made;
      },
    };
    expect(await provision(ask, { ...context, issuer: slow })).toMatchObject({ outcome: 'busy' });
    expect(aws.journal).toContain('DeleteCertificate cert-1');
    expect(mail.delivered).toEqual([]);
  });

  it('is busy while another attempt of the same device holds the lease', async () => {
    await registry.claim({ serial, tokenHash: ask.tokenHash, now, leaseMs: context.leaseMs, claimedBy: 'another' });
    expect(await provision(ask, context)).toEqual({ outcome: 'busy', untilMs: now + context.leaseMs });
  });

  describe('with a CSR for the key of another device', () => {
    const other = { ...ask, serial: 'SN-2', csrPem: 'CSR', keyDigest: 'digest of CSR' };
    const refused = { outcome: 'rejected', problem: problems.sharedKey };
    beforeEach(async () => {
      await registry.enrol({ serial: 'SN-2', tokenHash: ask.tokenHash, enrolledAt: 0 });
      await provision({ ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' }, context);
    });

    it('refuses it, and leaves no certificate and no intent', async () => {
      expect(await provision(other, context)).toMatchObject(refused);
      expect([...aws.cloud.certificates.keys()]).toEqual(['cert-1']);
      expect(createIntentsOf(rows.get('SN-2') as Device)).toEqual([]);
      expect(rows.get('SN-2')).toMatchObject({ state: 'enrolled' });
    });

    it('makes a certificate for it once, however often the device asks', async () => {
      for (const requestId of ['1', '2', '3', '4'])
        expect(await provision({ ...other, requestId }, context)).toMatchObject(refused);
      expect(aws.count('CreateCertificate')).toBe(2);
    });

    it('vends for it once the other device is removed', async () => {
      await provision(other, context);
      await registry.retire(rows.get(serial) as Device, 'keep-thing');
      await registry.confirmDeleted(serial, 'cert-1');
      expect(await registry.remove(rows.get(serial) as Device, now)).toBe(true);
      expect(await provision(other, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-3' });
    });
  });

  it('gives the right back when AWS refuses the CSR', async () => {
    aws.fail.set('CreateCertificate', new CsrRefused('unsupported key'));
    expect(await provision({ ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' }, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'InvalidCsr' },
    });
    expect(await registry.find(serial)).toMatchObject({ state: 'enrolled' });
  });

  it('does not repeat for ever what AWS refuses of a CSR that the gateway made', async () => {
    const refusal = new UpstreamRefused('iot:CreateCertificateFromCsr', new Error('invalid'), 'correct it');
    aws.fail.set('CreateCertificate', new CsrRefused('invalid', refusal));
    expect(await provision({ ...ask, key: 'ec' }, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'UpstreamUnavailable' },
      cause: refusal,
    });
    expect(await registry.find(serial)).toMatchObject({ state: 'enrolled' });
  });

  it("makes an 'ec' key at the gateway, certifies it through a CSR and hands it over", async () => {
    expect(await provision({ ...ask, key: 'ec' }, context)).toMatchObject({ outcome: 'accepted' });
    expect(answer()).toMatchObject({ credentials: { privateKeyPem: expect.stringContaining('PRIVATE KEY') } });
  });

  it('reissued: withdraws the old certificate when the new one is ready, and not before', async () => {
    await provision(ask, context);
    const device = await registry.find(serial);
    if (device === undefined) throw new Error('not found');
    const newToken = 'another-horse-another-battery';
    await registry.reissue(device, { tokenHash: hashToken(newToken) });
    const again = { ...ask, tokenHash: hashToken(newToken), replyKey: deriveReplyKeys(serial, newToken).publicKey };
    aws.fail.set('AttachPolicy cert-2', new Error('away'));
    await expect(provision(again, context)).rejects.toThrow('away');
    expect(aws.live()).toEqual(['cert-1']);
    aws.fail.clear();
    expect(await provision(again, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.live()).toEqual(['cert-2']);
    const order = aws.journal.filter((line) => /^(DeleteC|Activate)/.test(line)).slice(-2);
    expect(order).toEqual(['DeleteCertificate cert-1', 'Activate cert-2']);
  });

  it('tells the device to come back, and the operator what to change, where AWS refuses for good', async () => {
    aws.fail.set(
      'AttachPolicy cert-1',
      new UpstreamRefused('AttachPolicy', new Error('no such policy'), 'create the policy'),
    );
    expect(await provision(ask, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'UpstreamUnavailable', retryAfterSeconds: 300 },
      cause: { cure: 'create the policy' },
    });
    aws.fail.clear();
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
  });

  it('asks no person to act where AWS refuses what an operator has taken away meanwhile', async () => {
    const removing: Issuer = {
      ...aws.issuer,
      async activate(certificateId) {
        await registry.retire(rows.get(serial) as Device, 'with-thing');
        throw new UpstreamRefused('UpdateCertificate', new Error(`${certificateId} does not exist`), 'create it');
      },
    };
    expect(await provision(ask, { ...context, issuer: removing })).toMatchObject({ outcome: 'busy' });
    expect(mail.delivered).toEqual([]);
  });

  it('tells the device to come back, and the operator what to change, where DynamoDB refuses the claim for good', async () => {
    const missing = new UpstreamRefused('dynamodb:UpdateItem', new Error('no such table'), 'cvm aws setup');
    const refusing: Registry = { ...registry, claim: () => Promise.reject(missing) };
    const before = await registry.find(serial);
    expect(await provision(ask, { ...context, registry: refusing })).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'UpstreamUnavailable', retryAfterSeconds: 300 },
      cause: { cure: 'cvm aws setup' },
    });
    expect(answer()).toMatchObject({ status: 'rejected', problem: { code: 'UpstreamUnavailable' } });
    expect(aws.journal).toEqual([]);
    expect(await registry.find(serial)).toEqual(before);
  });

  it.each([
    ['throttles', new UpstreamThrottled('dynamodb:UpdateItem')],
    ['refuses', new UpstreamRefused('dynamodb:UpdateItem', new Error('not allowed'), 'allow it')],
  ])('adopts the certificate that was issued before DynamoDB %s its record', async (_how, error) => {
    const refusing: Registry = { ...registry, recordCertificate: () => Promise.reject(error) };
    const csr = { ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' };
    await provision(csr, { ...context, registry: refusing }).catch(() => {});
    expect(intents()).toEqual([{ at: now, keyDigest: 'digest of CSR' }]);
    expect(await provision(csr, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
    expect(aws.count('CreateCertificate')).toBe(1);
  });

  it('begins anew when AWS no longer knows the certificate of an earlier attempt', async () => {
    aws.fail.set('Activate', new Error('away'));
    await expect(provision(ask, context)).rejects.toThrow('away');
    aws.fail.clear();
    aws.cloud.certificates.delete('cert-1');
    aws.fail.set('AttachPolicy cert-1', new UpstreamRefused('AttachPolicy', new Error('no such certificate'), 'cure'));
    expect(await provision(ask, context)).toMatchObject({
      outcome: 'rejected',
      problem: { code: 'UpstreamUnavailable' },
    });
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.live()).toEqual(['cert-2']);
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
    expect(await provision(ask, { ...context, issuer: blocking })).toMatchObject({ outcome: 'busy' });
    expect(aws.live()).toEqual([]);
    expect(mail.delivered).toEqual([]);
    expect(await provision(ask, context)).toMatchObject({ outcome: 'rejected', problem: { code: 'Forbidden' } });
  });

  describe.each([
    ['a CSR', { csrPem: 'CSR', keyDigest: 'digest of CSR' }],
    ['a key made at the gateway', { key: 'ec' as const }],
  ])('with %s, when the answer of the create call was lost', (_flow, flow) => {
    const requestKey = { ...ask, ...flow };

    it('adopts the certificate: no second one is made, and the device gets the key that fits', async () => {
      aws.lose.add('CreateCertificate');
      await expect(provision(requestKey, context)).rejects.toThrow('lost');
      expect(await provision(requestKey, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
      expect(aws.count('CreateCertificate')).toBe(1);
      expect(aws.live()).toEqual(['cert-1']);
      expect(answer()).toMatchObject({ credentials: { certificateId: 'cert-1' } });
      expect(intents()).toEqual([]);
      if ('key' in flow)
        expect(answer()).toMatchObject({ credentials: { privateKeyPem: expect.stringContaining('PRIVATE KEY') } });
    });

    it('makes another for the same key when it cannot be found, and remembers that there may be one', async () => {
      aws.lose.add('CreateCertificate');
      await expect(provision(requestKey, context)).rejects.toThrow('lost');
      const found = aws.cloud.certificates.get('cert-1');
      aws.cloud.certificates.delete('cert-1');
      expect(await provision(requestKey, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
      expect(intents()).toEqual([{ at: now, keyDigest: found?.keyDigest }]);
      expect(aws.cloud.certificates.get('cert-2')?.keyDigest).toBe(found?.keyDigest);
    });
  });

  it('remembers the time of an RSA create call whose answer was lost', async () => {
    aws.lose.add('CreateCertificate');
    await expect(provision(ask, context)).rejects.toThrow('lost');
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(intents()).toEqual([{ at: now }]);
  });

  it('forgets a create call that AWS throttled', async () => {
    aws.fail.set('CreateCertificate', new UpstreamThrottled('CreateKeysAndCertificate'));
    await expect(provision(ask, context)).rejects.toThrow(UpstreamThrottled);
    expect(intents()).toEqual([]);
  });

  it('writes down again what it will create when the claim that said so is from some time ago', async () => {
    const slow: Registry = {
      ...registry,
      async claim(request) {
        const claim = await registry.claim(request);
        now += context.leaseMs / 2 + 1;
        return claim;
      },
    };
    aws.lose.add('CreateCertificate');
    const second = { at: now + context.leaseMs / 2 + 1 };
    await expect(provision(ask, { ...context, registry: slow })).rejects.toThrow('lost');
    expect(intents()).toEqual([{ at: second.at - context.leaseMs / 2 - 1 }, second]);
    now += context.leaseMs;
    expect(await provision(ask, context)).toMatchObject({ certificateId: 'cert-2' });
    expect(intents()).toContainEqual(second);
  });

  it('leaves no create intent of an attempt that carried on, or that ended before its create call', async () => {
    aws.fail.set('Activate', new Error('away'));
    await expect(provision(ask, context)).rejects.toThrow('away');
    expect(intents()).toEqual([]);
    await expect(provision(ask, context)).rejects.toThrow('away');
    expect(intents()).toEqual([]);
    aws.fail.clear();
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
    expect(intents()).toEqual([]);
  });

  it("certifies the 'ec' key of an earlier attempt, and writes down that it does", async () => {
    const ec = { ...ask, key: 'ec' as const };
    aws.fail.set('CreateCertificate', new UpstreamThrottled('CreateCertificateFromCsr'));
    await expect(provision(ec, context)).rejects.toThrow(UpstreamThrottled);
    const earlier = rows.get(serial)?.ownKey?.keyDigest;
    aws.fail.clear();
    aws.lose.add('CreateCertificate');
    await expect(provision(ec, context)).rejects.toThrow('lost');
    expect(intents()).toContainEqual({ at: now, keyDigest: earlier });
    expect(await provision(ec, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
    expect(aws.cloud.certificates.get('cert-1')?.keyDigest).toBe(earlier);
  });

  it("makes no second 'ec' key for a device that asks while it is refused", async () => {
    const ec = { ...ask, key: 'ec' as const };
    await registry.claim({ serial, tokenHash: ask.tokenHash, now, leaseMs: context.leaseMs, claimedBy: 'another' });
    const before = madeKeys;
    for (const requestId of ['1', '2', '3']) await provision({ ...ec, requestId }, context);
    now += context.leaseMs;
    expect(await provision(ec, context)).toMatchObject({ outcome: 'accepted' });
    expect(madeKeys).toBe(before + 1);
  });

  it('creates nothing when it was frozen after it wrote down that it would', async () => {
    const frozen: Registry = {
      ...registry,
      async claim(request) {
        const claim = await registry.claim(request);
        now += context.leaseMs / 2 + 1;
        return claim;
      },
      async recordCreateIntent(...call) {
        const noted = await registry.recordCreateIntent(...call);
        now += context.leaseMs + 1;
        return noted;
      },
    };
    await expect(provision(ask, { ...context, registry: frozen })).rejects.toThrow('too much time had passed');
    expect(aws.count('CreateCertificate')).toBe(0);
  });

  it('leaves alone a certificate that another attempt adopted, when it comes too late to record it', async () => {
    const requestKey = { ...ask, csrPem: 'CSR', keyDigest: 'digest of CSR' };
    const slow: Issuer = {
      ...aws.issuer,
      async issue(key) {
        const made = await aws.issuer.issue(key);
        now += context.leaseMs / 2;
        await provision(requestKey, context);
        return made;
      },
    };
    expect(await provision(requestKey, { ...context, issuer: slow })).toMatchObject({ outcome: 'busy' });
    expect(aws.count('CreateCertificate')).toBe(1);
    expect(aws.live()).toEqual(['cert-1']);
  });

  it('never carries on with a certificate that was marked for deletion', async () => {
    aws.fail.set('Activate', new Error('away'));
    await expect(provision(ask, context)).rejects.toThrow('away');
    aws.fail.clear();
    now += 1_000_000;
    const row = await registry.find(serial);
    if (row) await registry.abandonAttempt(row);
    expect(await provision(ask, context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-2' });
    expect(aws.cloud.certificates.has('cert-1')).toBe(false);
    expect(await registry.find(serial)).not.toHaveProperty('pendingDeletion');
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
    await provision({ ...ask, serial: other }, { ...context, issuer });
    expect(seen).toEqual([
      [other, 'pump'],
      { certificateId: 'cert-1', thingName: other, policyName: 'special', thingGroupName: 'plant' },
    ]);
  });

  describe('by a template', () => {
    const parameters = { SerialNumber: serial, Place: 'north' };
    const byTemplate = (changed: Record<string, string> = {}, templateName = 'pump'): ProvisioningRequest => ({
      ...ask,
      template: { templateName, parameters: { ...parameters, ...changed } },
    });
    const configuration = { url: 'https://north', id: 'cert-1' };
    const configurationIn = () => {
      const opened = answer();
      return opened?.status === 'accepted' ? opened.credentials.deviceConfiguration : opened;
    };
    const policiesOf = (id: string) => [...(aws.cloud.certificates.get(id)?.policies ?? [])].sort();

    beforeEach(() => {
      const body = {
        ...fleetTemplate({}, {}, { policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'pumps' } } }),
        Parameters: { SerialNumber: { Type: 'String' }, Place: { Type: 'String' } },
        DeviceConfiguration: {
          url: { 'Fn::Join': ['', ['https://', { Ref: 'Place' }]] },
          id: { Ref: 'AWS::IoT::Certificate::Id' },
        },
      };
      const read = (name: string) => {
        const found = readTemplate(name, JSON.stringify(body));
        if ('faults' in found) throw new Error(found.faults.join());
        return [name, found.template] as const;
      };
      context = { ...context, templates: new Map([read('pump'), read('other')]) };
    });

    it('carries it out before the certificate works, and answers with its configuration', async () => {
      expect(await provision(byTemplate(), context)).toMatchObject({ outcome: 'accepted', certificateId: 'cert-1' });
      expect(aws.journal.filter((line) => /Policy|Activate/.test(line))).toEqual([
        'AttachPolicy cert-1',
        'AttachPolicy cert-1',
        'Activate cert-1',
      ]);
      expect(policiesOf('cert-1')).toEqual(['cvm-device', 'pumps']);
      expect(configurationIn()).toEqual(configuration);
      expect(rows.get(serial)?.template?.name).toBe('pump');
    });

    it('gives the same answer again, with a template of this name or without one, and carries nothing out again', async () => {
      await provision(byTemplate(), context);
      const calls = aws.journal.length;
      for (const request of [byTemplate(), byTemplate({ Place: 'south' }), ask]) {
        mail.delivered.length = 0;
        expect(await provision({ ...request, requestId: 'again' }, context)).toMatchObject({ again: true });
        expect(configurationIn()).toEqual(configuration);
      }
      expect(aws.journal).toHaveLength(calls);
    });

    it('is refused where the certificate was vended with another template, or with none', async () => {
      await provision(byTemplate(), context);
      const other = await provision({ ...byTemplate({}, 'other'), requestId: 'other' }, context);
      expect(other).toEqual({ outcome: 'rejected', problem: problems.otherTemplate });
      const second = 'SN-2';
      await registry.enrol({ serial: second, tokenHash: ask.tokenHash, enrolledAt: 0 });
      await provision({ ...ask, serial: second }, context);
      const late = { ...byTemplate({ SerialNumber: second }), serial: second };
      expect(await provision(late, context)).toEqual({ outcome: 'rejected', problem: problems.otherTemplate });
    });

    it.each([
      ['there is no such template', () => byTemplate({}, 'none'), 'InvalidRequest', /no provisioning template/],
      [
        'a parameter is missing',
        () => ({ ...ask, template: { templateName: 'pump', parameters: { SerialNumber: serial } } }),
        'InvalidRequest',
        /Place/,
      ],
      ['its thing is another device', () => byTemplate({ SerialNumber: 'SN-2' }), 'Forbidden', /not the serial/],
      [
        'its configuration is too long',
        () => byTemplate({ Place: 'x'.repeat(16_384) }),
        'InvalidRequest',
        /at most|more than/,
      ],
    ] as const)('is refused before anything is spent where %s', async (_why, request, code, message) => {
      expect(await provision(request(), context)).toMatchObject({
        outcome: 'rejected',
        problem: { code, message: expect.stringMatching(message) },
      });
      expect(aws.journal).toEqual([]);
      expect(rows.get(serial)).toMatchObject({ state: 'enrolled' });
      expect(intents()).toEqual([]);
      expect(await provision({ ...byTemplate(), requestId: 'mended' }, context)).toMatchObject({ outcome: 'accepted' });
    });

    it('says nothing of templates to a caller with a wrong token', async () => {
      const wrong = { ...byTemplate({}, 'none'), tokenHash: hashToken('wrong') };
      expect(await provision(wrong, context)).toMatchObject({ problem: problems.invalidToken });
    });

    it('never works without what the template says, whichever call fails, and carries on with its certificate', async () => {
      for (const lost of ['before', 'after'] as const)
        for (const call of ['CreateThing', 'AttachPolicy', 'AttachThingPrincipal', 'Activate'] as const) {
          const device = `${lost}-${call}`;
          await registry.enrol({ serial: device, tokenHash: ask.tokenHash, enrolledAt: 0 });
          const request = { ...byTemplate({ SerialNumber: device }), serial: device, requestId: device };
          if (lost === 'before') aws.fail.set(call, new Error('away'));
          else aws.lose.add(call);
          await expect(provision(request, context)).rejects.toThrow();
          aws.fail.clear();
          const id = rows.get(device)?.certificateId ?? '';
          if (aws.live().includes(id)) expect(policiesOf(id)).toEqual(['cvm-device', 'pumps']);
          expect(await provision(request, context)).toMatchObject({ outcome: 'accepted', certificateId: id });
          expect(policiesOf(id)).toEqual(['cvm-device', 'pumps']);
        }
    });

    it('begins anew where the attempt before had other parameters: its reply has another configuration', async () => {
      aws.fail.set('Activate', new Error('away'));
      await expect(provision(byTemplate(), context)).rejects.toThrow('away');
      aws.fail.clear();
      const south = byTemplate({ Place: 'south' });
      expect(await provision(south, context)).toMatchObject({ certificateId: 'cert-2' });
      expect(configurationIn()).toEqual({ url: 'https://south', id: 'cert-2' });
      expect([...aws.cloud.certificates.keys()]).toEqual(['cert-2']);
    });

    it('is refused where the thing has other properties, and its certificate does not work; it may ask again', async () => {
      const issuer = { ...aws.issuer, configure: async () => false };
      expect(await provision(byTemplate(), { ...context, issuer })).toMatchObject({ problem: { code: 'Forbidden' } });
      expect(aws.live()).toEqual([]);
      expect(await provision({ ...byTemplate(), requestId: 'mended' }, context)).toMatchObject({
        outcome: 'accepted',
        certificateId: 'cert-1',
      });
    });

    it('keeps the certificate of a reissued device until the template of the next one is carried out', async () => {
      await provision(ask, context);
      const row = rows.get(serial) as Device;
      await registry.reissue(row, { tokenHash: ask.tokenHash });
      const issuer = { ...aws.issuer, configure: async () => false };
      await provision({ ...byTemplate(), requestId: 'next' }, { ...context, issuer });
      expect(aws.live()).toEqual(['cert-1']);
    });
  });
});
