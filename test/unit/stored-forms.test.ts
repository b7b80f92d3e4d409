import { describe, expect, it } from 'vitest';
import { requestKeyOf, wantKeyOf } from '../../queue/provisioning-request.ts';
import * as forms from '../../queue/stored-forms.ts';
import * as keys from '../../queue/stored-keys.ts';
import { ownGateway } from '../../sealing/gateway.ts';
import { deriveKeyPair } from '../../sealing/hpke.ts';
import { newGateway, tableKey } from '../support/trust.ts';

/** Literal text: what is stored by one version is read by all that come after it. */
const storedRequest =
  '{"key":"ec","serial":"SN-1","tokenHash":"sha256:ab","replyKey":"cHVibGljIGtleSBvZiAzMiBieXRlcyBmb3IgdGVzdHM","receivedAt":1700000000000,"remoteAddress":"10.0.0.1","gatewayKey":"kKt5DsvwcEIy_-lDb67MyRO2amDpnGiKQLuk1eLmFFA","gatewaySigningKey":"ffIpKhS10snq4gG_m9hn3U5MYQEX4nhRsIwZPRqpbNA","signature":"gnTPzsr7uUMZFKMk6W0HhOl1wgQND5gj9N2dXDBAUlOf_oyCYZ3IGgZbHRQ8-WzxpWeIQihiRXDrTdcGYE9dCg"}';
const storedRequestWithCsr =
  '{"csr":"MIHJMHECAQAwDzENMAsGA1UEAxMEU04tMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLyjOQY74RbUD/ymDrO/y6oKRbclMjUeW7L/Kk8KwYB7b395GDakFR1YFWVT+mr9Xe4tc7ecYW+m2csaYcv8ltOgADAKBggqhkjOPQQDAgNIADBFAiB/OtRB3h4UWYLxeJHXwZ9PiiuTlSzCC0ytcCWmAThchAIhAJu+ROWzcdnR2YVsc4gSdh4OlJHrLiHNd095eFFeuJnT","serial":"SN-1","tokenHash":"sha256:ab","replyKey":"cHVibGljIGtleSBvZiAzMiBieXRlcyBmb3IgdGVzdHM","receivedAt":1700000000000,"remoteAddress":"10.0.0.1","gatewayKey":"kKt5DsvwcEIy_-lDb67MyRO2amDpnGiKQLuk1eLmFFA","gatewaySigningKey":"ffIpKhS10snq4gG_m9hn3U5MYQEX4nhRsIwZPRqpbNA","signature":"QI4RVCxY3KJ1hh8g4BOzdcomjYpGB4byzVbJdPcLuR8nBwfr8EyymuA9CRZPFhUhzrFyqORbcT-2LYI_suLCDQ"}';
const storedAttempt =
  '{"key":"ec","serial":"SN-1","tokenHash":"sha256:ab","replyKey":"cHVibGljIGtleSBvZiAzMiBieXRlcyBmb3IgdGVzdHM","receivedAt":1700000000000,"remoteAddress":"10.0.0.1","attemptFrom":"10.0.0.1","gatewayKey":"kKt5DsvwcEIy_-lDb67MyRO2amDpnGiKQLuk1eLmFFA","gatewaySigningKey":"ffIpKhS10snq4gG_m9hn3U5MYQEX4nhRsIwZPRqpbNA","signature":"--PS7oengJ5bBa6hB6llPH2PXQasSeAS6cZsk6f0AGxMiWgYWcykDIuv0R0m9g2zCgOpA7zbkFlNh1xZPSZ7DA"}';
const storedBy010 =
  '{"askId":"7c9e6679-7425-40de-944b-e07fc1f90ae7","serial":"SN-1","tokenHash":"sha256:ab","replyKey":"cHVibGljIGtleSBvZiAzMiBieXRlcyBmb3IgdGVzdHM","csrPem":"-----BEGIN CERTIFICATE REQUEST-----","key":"ec","keyDigest":"cd","receivedAt":1700000000000,"remoteAddress":"10.0.0.1","gatewayKey":"kKt5DsvwcEIy_-lDb67MyRO2amDpnGiKQLuk1eLmFFA","gatewaySigningKey":"ffIpKhS10snq4gG_m9hn3U5MYQEX4nhRsIwZPRqpbNA","signature":"WdSnBBEan8C51uuRY_mAZf2lSTxxAT75XCJMyZw_NZR7udJ6buthmkAGT4-bnGzF2ZeOoFjloy_fig6eq96eBg"}';
const request = {
  requestId: '7c9e6679-7425-40de-944b-e07fc1f90ae7',
  serial: 'SN-1',
  tokenHash: 'sha256:ab',
  replyKey: 'cHVibGljIGtleSBvZiAzMiBieXRlcyBmb3IgdGVzdHM',
  key: 'ec',
  receivedAt: 1_700_000_000_000,
  remoteAddress: '10.0.0.1',
} as const;
const { requestId } = request;
/** P-256, subject CN=SN-1 */
const csrPem = `-----BEGIN CERTIFICATE REQUEST-----
MIHJMHECAQAwDzENMAsGA1UEAxMEU04tMTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABLyjOQY74RbUD/ymDrO/y6oKRbclMjUeW7L/Kk8KwYB7b395GDakFR1YFWVT
+mr9Xe4tc7ecYW+m2csaYcv8ltOgADAKBggqhkjOPQQDAgNIADBFAiB/OtRB3h4U
WYLxeJHXwZ9PiiuTlSzCC0ytcCWmAThchAIhAJu+ROWzcdnR2YVsc4gSdh4OlJHr
LiHNd095eFFeuJnT
-----END CERTIFICATE REQUEST-----
`;
const requestWithCsr = {
  ...request,
  key: 'rsa',
  csrPem,
  keyDigest: 'c97f4b81d0d89762b85dc3bb698d0d7a7618596df83e77d81915d3d2835a655f',
} as const;
const storedReply =
  '{"askId":"7c9e6679-7425-40de-944b-e07fc1f90ae7","box":"cmVjaXBpZW50","requestKey":"cmVxdWVzdA","sealed":"c2VhbGVk","signature":"4OVpJFhlm-Dd63YUa0I7TfxBznUySPjaH7PtKB81kEuhhs6DvzLaSYT6Lta1rzL6N_r4hXXJa73b6BsOIf72Dg"}';
const reply = {
  requestId: request.requestId,
  recipientId: 'cmVjaXBpZW50',
  requestKey: 'cmVxdWVzdA',
  sealed: 'c2VhbGVk',
};
const gateway = ownGateway(deriveKeyPair(Buffer.alloc(32, 3)));
const table = tableKey();

describe('the stored form', () => {
  it.each([
    ['of a request', request, storedRequest],
    ['of a request with a CSR', requestWithCsr, storedRequestWithCsr],
    ['of a request with a token that its broker did not know', { ...request, attemptFrom: '10.0.0.1' }, storedAttempt],
  ])('%s is the one that other versions read and write', (_what, message, stored) => {
    expect(JSON.stringify(forms.toStoredRequest(message, gateway))).toBe(stored);
    expect(forms.readStoredRequest(JSON.parse(stored), requestId)).toEqual({ message, gateway: gateway.identity });
    expect(forms.readWaiting(stored)).toEqual({ requestKey: requestKeyOf(message), wantKey: wantKeyOf(message) });
    expect(forms.readStoredRequest(JSON.parse(stored), 'another job')?.gateway).toBeUndefined();
  });

  it('of a request with a template has its key nowhere else: a version that knows no templates reads no request', () => {
    for (const asked of [requestWithCsr, request]) {
      const message = { ...asked, template: { templateName: 'pump', parameters: { SerialNumber: 'SN-1', Place: '' } } };
      const stored = JSON.parse(JSON.stringify(forms.toStoredRequest(message, gateway)));
      expect(Object.keys(stored)).not.toEqual(expect.arrayContaining(['key']));
      expect(Object.keys(stored)).not.toEqual(expect.arrayContaining(['csr']));
      expect(forms.readStoredRequest(stored, requestId)).toEqual({ message, gateway: gateway.identity });
      const waits = { requestKey: requestKeyOf(message), wantKey: wantKeyOf(message) };
      expect(forms.readWaiting(JSON.stringify(stored))).toEqual(waits);
      expect(waits).not.toEqual({ requestKey: requestKeyOf(asked), wantKey: wantKeyOf(asked) });
      // another key beside it, or a template that is none
      expect(forms.readStoredRequest({ ...stored, key: 'ec' }, requestId)).toBeUndefined();
      for (const withTemplate of ['', '{}', '{"key":"ec"}', '{"key":"ec","templateName":"pump","parameters":{"a":1}}'])
        expect(forms.readStoredRequest({ ...stored, withTemplate }, requestId)).toBeUndefined();
    }
    const inOrder = (parameters: Record<string, string>) =>
      wantKeyOf({ ...request, template: { templateName: 'pump', parameters } });
    expect(inOrder({ a: '1', b: '2' })).toBe(inOrder({ b: '2', a: '1' }));
  });

  it('of a request that version 0.1.0 left in Redis is read as it was meant', () => {
    const message = { ...request, csrPem: '-----BEGIN CERTIFICATE REQUEST-----', keyDigest: 'cd' };
    expect(forms.readStoredRequest(JSON.parse(storedBy010), requestId)).toEqual({ message, gateway: gateway.identity });
    // its digest may be of another key than its CSR: nothing has looked at its signature
    expect(forms.readWaiting(storedBy010)).toEqual({ requestKey: requestKeyOf(message), wantKey: undefined });
  });

  it('of a request says for which key it is, by a name or by a CSR', () => {
    for (const asked of [{}, { csr: '' }, { csr: 'no base64' }, { csr: 'AAAA' }, { csr: 'MAMCAQA=' }]) {
      const { key: _key, ...rest } = JSON.parse(storedRequest);
      expect(forms.readStoredRequest({ ...rest, ...asked }, requestId), JSON.stringify(asked)).toBeUndefined();
      expect(forms.readWaiting(JSON.stringify({ ...rest, ...asked }))).toBeUndefined();
    }
  });

  it('of a reply is the one that other versions read and write', () => {
    expect(forms.toStoredReply(reply, table)).toBe(storedReply);
    expect(forms.readStoredReply(storedReply)).toMatchObject(reply);
    expect(forms.readStoredReply(storedReply)?.isSignedBy(table.publicKey)).toBe(true);
    const only = forms.toStoredReply({ ...reply, onlyGateway: 'g' }, table);
    expect(forms.readStoredReply(only)).toMatchObject({ ...reply, onlyGateway: 'g' });
    for (const changed of [
      only.replace('"g"', '"h"'),
      only.replace('"gateway":"g",', ''),
      only.replace('cmVxdWVzdA', 'A'),
    ])
      expect(forms.readStoredReply(changed)?.isSignedBy(table.publicKey)).toBe(false);
  });

  it('of a message is signed as a whole: a field that a newer broker adds does not break it, and no other change passes', () => {
    const newer = { ...request, urgency: 'high' };
    const stored = forms.toStoredRequest(newer, gateway);
    expect(forms.readStoredRequest(stored, requestId)).toEqual({ message: request, gateway: gateway.identity });
    const changes: object[] = [
      { urgency: 'low' },
      { more: 1 },
      { remoteAddress: undefined },
      { signature: 'A'.repeat(86) },
      { askId: 'of another job' },
    ];
    for (const name of Object.keys(stored)) changes.push({ [name]: undefined });
    for (const change of changes) {
      const changed = JSON.parse(JSON.stringify({ ...stored, ...change }));
      expect(forms.readStoredRequest(changed, requestId)?.gateway, JSON.stringify(change)).toBeUndefined();
    }
  });

  it('of a request is taken with a time that a table can store, and a key that something can be sealed to', () => {
    const changes: object[] = [-1, 0.5, -1e308, 1e300, 8.64e15 + 1].map((receivedAt) => ({ receivedAt }));
    for (const replyKey of ['AAAA', 'A'.repeat(42), `${'A'.repeat(42)}B`, '!'.repeat(43), 'A'.repeat(44)])
      changes.push({ replyKey });
    for (const change of changes)
      expect(
        forms.readStoredRequest(forms.toStoredRequest({ ...request, ...change }, gateway), requestId),
      ).toBeUndefined();
    for (const at of [-1, 0.5, 1e300])
      expect(forms.readGatewayAnnouncement(forms.toStoredAnnouncement(gateway, at))).toBeUndefined();
  });

  it('of a change of the roster names no more serials than a worker writes at a time', () => {
    const serials = Array.from({ length: 500 }, (_, index) => `${index}`);
    expect(forms.readChangedSerials(JSON.stringify(serials))).toEqual(serials);
    expect(forms.readChangedSerials(JSON.stringify([...serials, 'one more']))).toBeUndefined();
  });

  it('of one kind does not pass for another, nor that of one gateway for another', () => {
    const acknowledgement = { serial: 'SN-1', tokenHash: 'sha256:ab', certificateId: 'c' };
    const stored = forms.toStoredAcknowledgement(acknowledgement, gateway);
    expect(forms.readStoredAcknowledgement(stored)).toEqual({ message: acknowledgement, gateway: gateway.identity });
    const { replyKey } = request;
    const registration = { requestId, replyKey, templateName: 'pump', parameters: { SerialNumber: 'SN-1' } };
    const withTemplate = forms.toStoredAcknowledgement({ ...acknowledgement, registration }, gateway);
    expect(forms.readStoredAcknowledgement(withTemplate)).toEqual({
      message: { ...acknowledgement, registration },
      gateway: gateway.identity,
    });
    // it stands in no line, and a version that knows no templates takes it for an acknowledgement
    expect(forms.readRecipientId(withTemplate)).toBeUndefined();
    const changed = { ...withTemplate, registration: withTemplate.registration?.replace('pump', 'fan') };
    expect(forms.readStoredAcknowledgement(changed)?.gateway).toBeUndefined();
    for (const wrong of ['', '{}', JSON.stringify({ ...registration, parameters: { a: 1 } })])
      expect(forms.readStoredAcknowledgement({ ...withTemplate, registration: wrong })).toBeUndefined();
    const asRequest = { ...forms.toStoredRequest(request, gateway), certificateId: 'c' };
    expect(forms.readStoredAcknowledgement(asRequest)?.gateway).toBeUndefined();
    const { publicKey: gatewayKey, signingKey: gatewaySigningKey } = newGateway().identity;
    for (const keys of [{ gatewayKey }, { gatewaySigningKey }, { gatewayKey, gatewaySigningKey }])
      expect(forms.readStoredAcknowledgement({ ...stored, ...keys })?.gateway).toBeUndefined();
    expect(forms.readStoredReply(forms.toStoredReply(reply, tableKey(2)))?.isSignedBy(table.publicKey)).toBe(false);
  });

  it('of an announcement is taken from the gateway itself only, with the id that its keys have', () => {
    const text = forms.toStoredAnnouncement(gateway, 5);
    expect(forms.readGatewayAnnouncement(text)).toEqual({ gateway: gateway.identity, at: 5 });
    const stored = JSON.parse(text);
    const other = newGateway();
    for (const change of [
      { at: 6 },
      { id: other.identity.id },
      { publicKey: other.identity.publicKey },
      other.identity,
    ])
      expect(forms.readGatewayAnnouncement(JSON.stringify({ ...stored, ...change }))).toBeUndefined();
  });

  it('of what a worker notes for later is taken when the table signed it, for this device', () => {
    const position = forms.toStoredPosition({ change: 3, wholeAt: 5 }, table);
    expect(forms.readPosition(position, table.publicKey)).toEqual({ change: 3, wholeAt: 5 });
    expect(forms.readPosition(position.replace('3', '9'), table.publicKey)).toBeUndefined();
    const seen = forms.toStoredSeenCertificate('SN-1', 'c', table);
    expect(forms.readSeenCertificate('SN-1', seen, table.publicKey)).toBe('c');
    expect(forms.readSeenCertificate('SN-2', seen, table.publicKey)).toBeUndefined();
    expect(forms.readSeenCertificate('SN-1', seen.replace('"c"', '"d"'), table.publicKey)).toBeUndefined();
    for (const text of ['', 'c', '{}', position])
      expect(forms.readSeenCertificate('SN-1', text, table.publicKey)).toBeUndefined();
    for (const read of [
      forms.readPosition(position, tableKey(2).publicKey),
      forms.readSeenCertificate('SN-1', seen, tableKey(2).publicKey),
    ])
      expect(read).toBeUndefined();
  });

  it('of every key, channel and job name is the one that other versions use', () => {
    expect([keys.queueName, keys.requestJob, keys.acknowledgementJob]).toEqual(['asks', 'ask', 'ack']);
    expect(keys.tableKeyKey).toBe('{cvm}:table-key');
    expect(keys.repliesChannel).toBe('{cvm}:replies');
    expect(keys.replyKey('R')).toBe('{cvm}:answer:R');
    expect(keys.rosterKeys).toEqual({
      entries: '{cvm}:roster',
      gateways: '{cvm}:roster:brokers',
      position: '{cvm}:roster:position:2',
      leader: '{cvm}:roster:leader',
      channel: '{cvm}:roster:changed',
      requestedLookups: '{cvm}:roster:inquiries',
    });
    expect(keys.tokenAttemptsKey('serial')).toBe('{cvm}:guess:serial');
    expect(keys.attemptedTokenKey('R')).toBe('{cvm}:guess:seen:R');
  });
});

describe('every key and channel', () => {
  it('has the one hash tag that keeps all of them in one slot of a Redis Cluster', () => {
    const named = Object.entries(keys).flatMap(([name, value]) => {
      if (!/(Key|Keys|Channel)$/.test(name) || /^(read|own)/.test(name)) return [];
      if (typeof value === 'function') return [(value as (of: string) => string)('x')];
      if (typeof value === 'string') return [value];
      return Object.values(value).map((each) => (typeof each === 'function' ? each('x', true) : each));
    });
    expect(named.length).toBeGreaterThan(12);
    for (const key of named) expect(key).toMatch(/^\{cvm\}:[^{}]+$/);
  });
});
