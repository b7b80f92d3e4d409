import { beforeEach, describe, expect, it } from 'vitest';
import type { ThingConfiguration } from '../../issuer/issuer.ts';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import { claimName, recipientIdOf } from '../../queue/provisioning-request.ts';
import type { SealedReply } from '../../queue/replies.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryRegistry, memoryRows } from '../../registry/memory.ts';
import { createClaimCertificates } from '../../registry/rules/claim-certificates.ts';
import { UpstreamRefused, UpstreamThrottled } from '../../runtime/upstream.ts';
import { deriveReplyKeys, openAnswer, sealer } from '../../sealing/replies.ts';
import { readTemplate } from '../../templates/template.ts';
import { type RegisterContext, register } from '../../worker/register.ts';
import { createCloudIssuer } from '../fakes/memory-issuer.ts';
import { fleetTemplate } from '../support/fleet-device.ts';

const [serial, token, certificateId] = ['SN-1', 'correct-horse-battery-staple', 'ab'.repeat(32)];
const tokenHash = hashToken(token);
const keys = deriveReplyKeys(serial, token);
const recipientId = recipientIdOf(serial, tokenHash);

function templateOf(body: object) {
  const read = readTemplate('pump', JSON.stringify(body));
  if ('faults' in read) throw new Error(read.faults.join('\n'));
  return read.template;
}

/** What only a claim certificate needs. */
const unclaimed = () => ({
  claims: createClaimCertificates(memoryRows(new Map())),
  policyName: 'cvm-device',
  leaseMs: 10_000,
  seen: { last: async () => undefined, note: async () => {} },
  earlierReplies: { kept: async () => undefined },
  restoredAt: async () => undefined,
  notices: { reopened() {}, otherWithdrawn() {} },
});

describe('the registration by a template', () => {
  let rows: Map<string, Device>;
  let delivered: SealedReply[];
  let configured: ThingConfiguration[];
  let context: RegisterContext;
  /** what the calls to AWS do */
  let configure: () => Promise<boolean>;

  beforeEach(() => {
    [delivered, configured, rows] = [[], [], new Map()];
    rows.set(serial, {
      serial,
      tokenHash,
      certificateId,
      state: 'registered',
      requestedAt: 1,
      enrolledAt: 1,
      attempt: 1,
      issuedAt: 1,
    });
    configure = async () => true;
    context = {
      registry: createMemoryRegistry(rows),
      ...unclaimed(),
      issuer: {
        ...createCloudIssuer({ certificates: new Map(), things: new Set() }),
        configure: async (wanted) => {
          configured.push(wanted);
          return configure();
        },
      },
      replies: { deliver: async (reply) => void delivered.push(reply) },
      seal: sealer,
      templates: new Map([['pump', templateOf(fleetTemplate({ AttributePayload: { model: 'p' } }))]]),
      now: () => 5,
    };
  });

  const ask = (parameters: Record<string, string> = { SerialNumber: serial }, templateName = 'pump') =>
    register(
      {
        serial,
        tokenHash,
        certificateId,
        registration: { requestId: 'r', replyKey: keys.publicKey, templateName, parameters },
      },
      context,
    );
  const answer = () => openAnswer(keys, recipientId, delivered.at(-1)?.sealed ?? '');
  const change = (changed: Partial<Device>) => rows.set(serial, { ...(rows.get(serial) as Device), ...changed });

  it('carries out the template, acknowledges the certificate, and answers what the device is to know', async () => {
    expect(await ask()).toEqual({ outcome: 'registered', serial });
    expect(configured).toMatchObject([{ thingName: serial, certificateId, attributes: { model: 'p' } }]);
    expect(rows.get(serial)).toMatchObject({ deliveredAt: 5 });
    expect(answer()).toEqual({ status: 'registered', thingName: serial, deviceConfiguration: {} });
  });

  it('is answered again where the answer was lost, and changes nothing the second time', async () => {
    await ask();
    delivered = [];
    context = { ...context, now: () => 9 };
    expect(await ask()).toEqual({ outcome: 'registered', serial });
    expect(answer()).toMatchObject({ status: 'registered', thingName: serial });
    expect([configured.length, rows.get(serial)?.deliveredAt]).toEqual([1, 5]);
  });

  it('calls nothing where the template says nothing of the thing', async () => {
    context = { ...context, templates: new Map([['pump', templateOf(fleetTemplate())]]) };
    expect(await ask()).toEqual({ outcome: 'registered', serial });
    expect(configured).toEqual([]);
  });

  it('is refused under another name than the proven serial: no device takes the identity of another', async () => {
    expect(await ask({ SerialNumber: 'SN-2' })).toMatchObject({ outcome: 'rejected', problem: { code: 'Forbidden' } });
    expect([configured, rows.get(serial)?.deliveredAt]).toEqual([[], undefined]);
  });

  it.each<[string, Partial<Device>, string]>([
    ['it holds another certificate', { certificateId: 'cd'.repeat(32) }, 'InvalidCertificateOwnershipToken'],
    ['it was reissued', { tokenHash: 'sha256:another' }, 'InvalidToken'],
    ['it is blocked', { state: 'blocked' }, 'Forbidden'],
    ['its certificate is not finished', { state: 'provisioning' }, 'InvalidCertificateOwnershipToken'],
    ['it belongs to another site', { site: 'elsewhere' }, 'InvalidToken'],
  ])('is refused, and changes nothing, where %s', async (_what, changed, code) => {
    change(changed);
    expect(await ask()).toMatchObject({ outcome: 'rejected', problem: { code } });
    expect(answer()).toMatchObject({ status: 'rejected', problem: { code } });
    expect([configured, rows.get(serial)?.deliveredAt]).toEqual([[], undefined]);
  });

  it('is refused where an operator decides otherwise meanwhile', async () => {
    configure = async () => {
      change({ state: 'blocked' });
      return true;
    };
    expect(await ask()).toMatchObject({ problem: { code: 'InvalidCertificateOwnershipToken' } });
  });

  it('tells the device that the operator must act, and the operator why, where AWS refuses', async () => {
    const refusal = new UpstreamRefused('iot:AddThingToThingGroup', new Error('no group'), 'make the group');
    configure = () => Promise.reject(refusal);
    // it has its certificate: words of a certificate that cannot be vended would mislead
    const message = expect.stringMatching(/what the template says.*same ownership token$/);
    expect(await ask()).toMatchObject({ problem: { code: 'UpstreamUnavailable', message }, cause: refusal });
    expect(rows.get(serial)?.deliveredAt).toBeUndefined();
  });

  it('is refused where the thing has other attributes and the template says FAIL', async () => {
    configure = async () => false;
    expect(await ask()).toMatchObject({ problem: { code: 'Forbidden', message: expect.stringContaining('FAIL') } });
  });

  it('is tried again after an outage, and answers nothing before', async () => {
    configure = () => Promise.reject(new UpstreamThrottled('iot:UpdateThing'));
    await expect(ask()).rejects.toThrow(UpstreamThrottled);
    expect(delivered).toEqual([]);
  });
});

describe('the registration on a connection of a claim certificate', () => {
  const [id, waitingId, now] = ['cd'.repeat(32), 'ef'.repeat(32), 1000];
  const holder = { serial: claimName(id), tokenHash: 'of the connection', claim: id };
  const deviceTokenHash = hashToken('a-token-of-no-device-at-all');
  let rows: Map<string, Device>;
  let configured: ThingConfiguration[];
  let context: RegisterContext;

  beforeEach(async () => {
    const waiting = { active: false, policies: new Set<string>(), keyDigest: 'key', subject: {}, createdAt: now };
    [configured, rows] = [[], new Map()];
    const enrolled = { tokenHash, state: 'enrolled', requestedAt: 0, enrolledAt: 0, attempt: 0 } as const;
    for (const each of [serial, 'SN-2']) rows.set(each, { ...enrolled, serial: each, claimGroup: 'pumps' });
    // its template is not carried out yet
    rows.set(serial, { ...enrolled, serial, claimGroup: 'pumps', state: 'registered', certificateId, issuedAt: 1 });
    const { claims, ...others } = unclaimed();
    await claims.add({
      ...{ id, group: 'pumps', templateName: 'pump', serials: 'SN-*', most: 5, mostAnHour: 5, createdAt: 0 },
      endsAt: 2 * now,
    });
    await claims.intend(id, { id: 'attempt' }, now);
    await claims.wait(id, { id: 'attempt', at: now, certificateId: waitingId });
    context = {
      ...{ ...others, claims, seal: sealer, now: () => now },
      registry: createMemoryRegistry(rows),
      issuer: {
        ...createCloudIssuer({ certificates: new Map([[waitingId, waiting]]), things: new Set() }),
        configure: async (wanted) => {
          configured.push(wanted);
          return true;
        },
      },
      replies: { deliver: async () => {} },
      templates: new Map([['pump', templateOf(fleetTemplate({ AttributePayload: { model: 'p' } }))]]),
    };
  });

  const attempts = {
    'a device that has this certificate': { certificateId, parameters: { SerialNumber: serial } },
    'a device that has another certificate': { certificateId: waitingId, parameters: { SerialNumber: serial } },
    'a device that has none': { certificateId: waitingId, parameters: { SerialNumber: 'SN-2' } },
    'a device with a wrong token': { certificateId: waitingId, parameters: { SerialNumber: 'SN-2' }, deviceTokenHash },
    'a device that is not enrolled': { certificateId: waitingId, parameters: { SerialNumber: 'SN-3' } },
    'a device beyond its pattern': { certificateId: waitingId, parameters: { SerialNumber: 'other' } },
    'no device, to learn what the template asks for': { certificateId: waitingId, parameters: {} },
    'a template that it does not stand for': { certificateId: waitingId, parameters: {}, templateName: 'valve' },
  };
  type Attempt = { certificateId: string; parameters: object; deviceTokenHash?: string; templateName?: string };

  /** @returns the problem, or the outcome where there is none */
  const answerTo = async ({ certificateId, parameters, ...said }: Attempt) => {
    const registration = { requestId: 'r', replyKey: keys.publicKey, templateName: 'pump', parameters, ...said };
    const outcome = await register(
      { ...holder, certificateId, registration } as Parameters<typeof register>[0],
      context,
    );
    return outcome.outcome === 'rejected' ? outcome.problem : outcome;
  };
  const state = () => JSON.stringify([[...rows.values()], configured]);

  it.each([
    ['is revoked', problems.claimRevoked, () => context.claims.revoke(id, now)],
    ['has ended', problems.claimEnded, async () => (context = { ...context, now: () => 2 * now })],
  ])(
    'that %s is refused in the same words whomever it names, so that it tells nothing of devices, tokens and templates, and changes nothing',
    async (_, problem, end) => {
      await end();
      const before = state();
      for (const [what, attempt] of Object.entries(attempts)) expect(await answerTo(attempt), what).toEqual(problem);
      expect(state()).toBe(before);
      expect(await context.claims.waiting(id)).toMatchObject({ waiting: [{ certificateId: waitingId }], given: [] });
    },
  );

  it('that is in force is told what is wrong, and a device whose answer was lost is answered again', async () => {
    const told = new Set<string>();
    for (const attempt of Object.values(attempts)) told.add(JSON.stringify(await answerTo(attempt)));
    expect(told.size).toBeGreaterThan(4);
    expect(told).toContain(JSON.stringify({ outcome: 'registered', serial }));
  });
});
