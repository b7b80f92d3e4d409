import { describe, expect, it } from 'vitest';
import type { ExplainFacts } from '../../operator/explanation.ts';
import { failures, failureText, helpEntries } from '../../operator/failures.ts';
import { explain } from '../../operator/timeline.ts';
import { statusCodes } from '../../protocol/problems.ts';
import type { Device } from '../../registry/device.ts';
import type { ProductRecord } from '../../telemetry/audit-events.ts';
import type { Sighting, SightingFields, SightingKind, SightingName } from '../../telemetry/sightings.ts';

const now = Date.UTC(2026, 9, 1, 12);
const from = '10.0.0.7';

const device = (over: Partial<Device> = {}): Device => ({
  ...{ serial: 'SN-1', tokenHash: 'sha256:secret', state: 'enrolled', requestedAt: 0, enrolledAt: now - 3_600_000 },
  attempt: 0,
  ...over,
});
const registered = (over: Partial<Device> = {}) =>
  device({ state: 'registered', certificateId: 'c'.repeat(64), issuedAt: now - 600_000, ...over });

function seen<Name extends SightingName>(
  name: Name,
  fields: SightingFields[Name],
  { agoMs = 1000, kind = 'own', latest }: { agoMs?: number; kind?: SightingKind; latest?: string } = {},
): Sighting {
  const at = now - agoMs;
  return { name, kind, firstAt: at, at, count: 1, ...(latest === undefined ? {} : { latest }), ...fields } as Sighting;
}

const facts = (over: Partial<ExplainFacts> = {}): ExplainFacts => ({
  ...{ serial: 'SN-1', now, device: device(), records: [], sightings: [], nameless: [], near: [], health: {} },
  ...{ table: 'cvm-devices', replayWindowMs: 86_400_000 },
  ...over,
});
const verdictOf = (over: Partial<ExplainFacts>) => explain(facts(over)).verdict;

const wrongToken = (agoMs: number, kind: SightingKind = 'unproven') =>
  seen(
    'answered',
    { from, requestId: 'r0', outcome: 'rejected', errorCode: 'InvalidToken', problem: 'invalidToken' },
    { agoMs, kind },
  );

describe('the verdict on a device', () => {
  it('a decision of an operator comes before all that was seen', () => {
    expect(verdictOf({ device: device({ state: 'blocked' }), sightings: [wrongToken(1000)] }).id).toBe('blocked');
    expect(verdictOf({ device: device({ removal: 'with-thing' }) }).id).toBe('being-removed');
    expect(verdictOf({ device: device({ state: 'unknown' }) }).id).toBe('row-broken');
    expect(verdictOf({ device: device({ site: 'south' }), site: 'north' }).id).toBe('other-site');
    expect(verdictOf({ device: device({ site: 'south' }) }).cure).toContain('cvm devices move SN-1 --no-site');
  });

  it('others cannot make a device that has its certificate look broken by naming its serial', () => {
    const delivered = registered({ deliveredAt: now - 500_000 });
    const noise = [
      wrongToken(1000),
      seen('handshake-failed', { from, why: 'psk-wrong' }, { kind: 'unproven' }),
      seen('refused', { from, errorCode: 'Throttled', problem: 'tooManyAttempts' }, { kind: 'unproven' }),
    ];
    expect(verdictOf({ device: delivered, sightings: noise }).id).toBe('fine');
    expect(verdictOf({ device: registered(), sightings: noise }).id).toBe('not-acknowledged');
  });

  it('a certificate alone is not enough: AWS must have seen the device connect with it', () => {
    const [vended, minute] = [now - 7_200_000, 60_000];
    const delivered = { issuedAt: vended, deliveredAt: vended + 1000 };
    const lived = (life: Partial<Device>) => explain(facts({ device: registered({ ...delivered, ...life }) }));
    const silent = lived({ lookedAt: vended + 60 * minute });
    expect(silent.verdict).toMatchObject({ id: 'never-came-alive', state: 'problem' });
    expect(silent.verdict.cause).toContain('AWS was asked last at 2026-10-01 11:00:00 UTC');
    expect(silent.verdict.cure).toMatch(/port 8883 .*cvm devices reissue SN-1/);
    expect(silent.timeline.at(-1)).toMatchObject({ part: 'aws', step: 'silent', outcome: 'waiting' });
    expect(lived({ lookedAt: vended + 5 * minute }).verdict).toMatchObject({
      id: 'awaits-connection',
      state: 'waiting',
    });
    const alive = lived({ lookedAt: vended + 60 * minute, seenAt: vended + minute });
    expect(alive.verdict).toMatchObject({
      id: 'fine',
      cause: expect.stringContaining('connect at 2026-10-01 10:01:00'),
    });
    expect(alive.timeline.at(-1)).toMatchObject({ part: 'device', step: 'came-alive', outcome: 'ok' });
    // nobody has asked AWS, or it was seen before this certificate was made
    expect(lived({}).verdict).toMatchObject({ id: 'fine', cause: expect.stringContaining('is not known yet') });
    expect(lived({ seenAt: vended - 60 * minute, lookedAt: vended + 60 * minute }).verdict.id).toBe('never-came-alive');
  });

  it('a device that AWS saw connect holds its certificate, also where it never said so', () => {
    const vended = { issuedAt: now - 7_200_000, lookedAt: now - 60_000 };
    expect(verdictOf({ device: registered({ ...vended, seenAt: now - 7_000_000 }) }).id).toBe('fine');
    const neither = verdictOf({ device: registered(vended) });
    expect(neither).toMatchObject({
      id: 'not-acknowledged',
      cause: expect.stringContaining('not seen it connect either'),
    });
  });

  it('a wrong token is told with who made the latest new one, and when: the label of another operator is worthless', () => {
    const record = { event: 'reissued', serial: 'SN-1', by: 'console:ann', part: 'console' };
    const reissued = { ...record, time: new Date(now - 60_000).toISOString() } as unknown as ProductRecord;
    const { verdict, timeline } = explain(facts({ records: [reissued], sightings: [wrongToken(1000)] }));
    expect(verdict.cause).toContain(
      'A new token was made at 2026-10-01 11:59:00 UTC, by console:ann: an older label is worthless',
    );
    expect(timeline).toContainEqual(expect.objectContaining({ step: 'reissued', by: 'console:ann' }));
  });

  it('the latest tells, unless a success came after it', () => {
    const stored = seen('stored', { from, requestId: 'r1' }, { agoMs: 3000 });
    expect(verdictOf({ sightings: [wrongToken(5000), seen('refused', { from, errorCode: 'InvalidCsr' })] }).id).toBe(
      'bad-csr',
    );
    const accepted = seen('answered', { from, requestId: 'r1', outcome: 'accepted' }, { agoMs: 2000 });
    expect(
      verdictOf({ device: registered({ issuedAt: now - 2000 }), sightings: [wrongToken(5000), stored, accepted] }).id,
    ).toBe('answered');
  });

  it('what a device did with its token is said also where somebody else names its serial afterwards', () => {
    const own = seen(
      'answered',
      { from, requestId: 'r1', outcome: 'rejected', errorCode: 'InvalidCsr' },
      { agoMs: 60_000 },
    );
    const { id, cause } = verdictOf({ sightings: [own, wrongToken(1000)] });
    expect(id).toBe('wrong-token');
    expect(cause).toMatch(
      /Nothing proves that this was the device\. With its token it was seen before, at .*, from 10\.0\.0\.7: CSR refused/,
    );
    expect(verdictOf({ sightings: [wrongToken(60_000), { ...own, at: now }] }).cause).not.toContain('Nothing proves');
  });

  it('what was seen before a new token was made says nothing about it', () => {
    const reissued = {
      time: new Date(now - 3000).toISOString(),
      part: 'cvm',
      event: 'reissued',
      serial: 'SN-1',
    } as const;
    expect(verdictOf({ sightings: [wrongToken(5000)], records: [reissued] }).id).toBe('never-seen');
    expect(verdictOf({ sightings: [wrongToken(1000)], records: [reissued] }).id).toBe('wrong-token');
  });

  it('a request that waits: place and time, no worker, AWS', () => {
    const stored = seen('stored', { from, requestId: 'r1' }, { agoMs: 20_000 });
    const waiting = seen('waiting', { from, requestId: 'r1' }, { latest: '7 120' });
    const throttled = seen(
      'postponed',
      { requestId: 'r1', outcome: 'throttled', operation: 'iot:CreateThing' },
      { kind: 'unproven' },
    );
    const inLine = verdictOf({ sightings: [stored, waiting], health: { workers: 'there' } });
    expect(inLine).toMatchObject({
      id: 'in-line',
      state: 'waiting',
      cause: expect.stringContaining('place is 7, and its turn comes in about 120 s'),
    });
    expect(verdictOf({ sightings: [stored, waiting], health: { workers: 'none' } }).id).toBe('worker-away');
    expect(verdictOf({ sightings: [stored, waiting, throttled], health: { workers: 'there' } }).id).toBe(
      'aws-throttled',
    );
  });

  it('a request that a worker is at, and that AWS has refused once: the error, also where the device was told its place', () => {
    const sightings = [
      seen('stored', { from, requestId: 'r1' }, { agoMs: 5000 }),
      seen('waiting', { from, requestId: 'r1' }, { agoMs: 3000, latest: '1 4' }),
      seen(
        'postponed',
        { requestId: 'r1', outcome: 'refused', operation: 'iot:AttachPolicy', error: 'ResourceNotFoundException' },
        { agoMs: 3500, kind: 'unproven' },
      ),
    ];
    const judged = verdictOf({ sightings, health: { workers: 'there' } });
    expect(judged).toMatchObject({ id: 'policy-missing', cause: expect.stringContaining('iot:AttachPolicy') });
  });

  it('a Redis that takes nothing is why, whatever was seen before', () => {
    const redis = { id: 'redis-full', problem: 'Redis refuses (OOM)' } as const;
    expect(verdictOf({ sightings: [wrongToken(1000)], health: { redis } })).toMatchObject({
      id: 'redis-full',
      cause: expect.stringContaining('OOM'),
    });
    expect(verdictOf({ device: registered({ deliveredAt: 1 }), health: { redis } }).id).toBe('fine');
  });

  it('is given also where another tool has written numbers into the row that are no times', () => {
    const no = 1e300;
    for (const over of [
      { tokenExpiresAt: -no },
      { deliveredAt: no },
      { issuedAt: no, seenAt: no, lookedAt: no, deliveredAt: 1 },
    ])
      expect(
        explain(facts({ device: registered({ enrolledAt: no, requestedAt: no, ...over }) })).verdict.title,
      ).toMatch(/\w/);
    expect(verdictOf({ device: device({ tokenExpiresAt: -no }) }).id).toBe('token-expired');
  });

  it('shows no hash of a token and no kept reply', () => {
    const text = JSON.stringify(explain(facts({ device: registered({ keptReply: 'sealed-reply' }) })));
    expect(text).not.toMatch(/sha256:secret|sealed-reply/);
  });
});

describe('the catalogue of failures', () => {
  it('has thirty and more, each with a title, a cause and a cure, in plain words without a full stop', () => {
    expect(Object.keys(failures).length).toBeGreaterThanOrEqual(30);
    for (const { title, cause, cure } of Object.values(failures)) {
      expect(title.length).toBeLessThan(40);
      for (const text of [title, cause, cure]) expect(text).toMatch(/[^.\s]$/);
    }
  });

  it('puts the serial where a command needs it', () => {
    expect(failureText('blocked', 'A$&B').cure).toContain('cvm devices unblock A$&B');
  });

  it('has every error code in its help', () => {
    const ids = helpEntries().map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining([...Object.keys(failures), ...Object.keys(statusCodes)]));
  });
});
