import { describe, expect, it } from 'vitest';
import { identityOf, ownGateway } from '../../sealing/gateway.ts';
import { deriveKeyPair } from '../../sealing/hpke.ts';
import { isSigned, signingKeyFrom } from '../../sealing/signing.ts';
import { newGateway } from '../support/trust.ts';

describe('a signature', () => {
  const key = signingKeyFrom(Buffer.alloc(32, 7));
  const fields = { b: 'two', a: 1 };
  const signature = key.sign('request', fields);

  it('is that of Ed25519: the first test vector of RFC 8032 gives the public key', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
    const publicKey = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a';
    expect(Buffer.from(signingKeyFrom(seed).publicKey, 'base64url').toString('hex')).toBe(publicKey);
  });

  it('covers every field and the purpose, in whatever order the fields come', () => {
    expect(isSigned(key.publicKey, 'request', { a: 1, b: 'two' }, signature)).toBe(true);
    for (const other of [
      { a: 1 },
      { a: 1, b: 'two', c: '' },
      { a: '1', b: 'two' },
      { a: 1, b: 'Two' },
      { a: 'two', b: 1 },
    ])
      expect(isSigned(key.publicKey, 'request', other as never, signature)).toBe(false);
    expect(isSigned(key.publicKey, 'reply', fields, signature)).toBe(false);
    expect(isSigned(signingKeyFrom(Buffer.alloc(32, 8)).publicKey, 'request', fields, signature)).toBe(false);
  });

  it('or a key of any other form is none, and no error', () => {
    for (const text of ['', 'x', 'A'.repeat(86), `${signature}A`.slice(1)])
      expect(isSigned(key.publicKey, 'request', fields, text)).toBe(false);
    for (const text of ['', 'x', 'A'.repeat(43), 'A'.repeat(44)])
      expect(isSigned(text, 'request', fields, signature)).toBe(false);
  });
});

describe("a gateway's identity", () => {
  it('comes from its one key file, always the same', () => {
    const make = () => ownGateway(deriveKeyPair(Buffer.alloc(32, 3))).identity;
    expect(make()).toEqual(make());
    expect(make().id).toMatch(/^[0-9a-f]{32}$/);
    expect(identityOf(make())).toEqual(make());
  });

  it('commits to both keys, each in its one spelling', () => {
    const [one, other] = [newGateway().identity, newGateway().identity];
    for (const change of [{ publicKey: other.publicKey }, { signingKey: other.signingKey }])
      expect(identityOf({ ...one, ...change })?.id).not.toBe(one.id);
    expect(identityOf({ publicKey: one.signingKey, signingKey: one.publicKey })?.id).not.toBe(one.id);
    for (const text of ['', `${one.publicKey}=`, one.publicKey.slice(1), `${one.publicKey}AA`])
      expect(identityOf({ ...one, publicKey: text })).toBeUndefined();
  });
});
