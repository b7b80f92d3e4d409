import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { checkCsr } from '../../broker/csr.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { derTag, writeDer } from '../../runtime/der.ts';

/** CPU time that this process uses meanwhile: what else the machine does is not in it. Milliseconds. */
function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** A random odd number of `bytes` bytes. */
const number = (bytes: number) => {
  const value = randomBytes(bytes);
  value[0] = 0x40;
  value[bytes - 1] = 1;
  return writeDer(derTag.integer, value);
};
const small = (value: number) => writeDer(derTag.integer, Buffer.from([value]));
const oid = (hex: string) => writeDer(derTag.oid, Buffer.from(hex, 'hex'));
const octets = (content: Buffer) => writeDer(4, content);
const pkcs8 = (algorithm: Buffer, key: Buffer) =>
  writeDer(derTag.sequence, small(0), algorithm, octets(key)).toString('base64');

/** Reading these, OpenSSL computes the public key: a power modulo a number of 15,200 or 10,000 bits, for seconds. */
const dsa = () => {
  const domain = writeDer(derTag.sequence, number(1900), small(1), small(2));
  return pkcs8(writeDer(derTag.sequence, oid('2a8648ce380401'), domain), number(1000));
};
const diffieHellman = () => {
  const group = writeDer(derTag.sequence, number(1250), small(2));
  return pkcs8(writeDer(derTag.sequence, oid('2a864886f70d010301'), group), number(1250));
};

// one device without a token could send enough of these to stop the broker for all others
describe('a message that could cost more than its length', () => {
  it.each([
    ['a private key of DSA', dsa],
    ['a private key of Diffie-Hellman', diffieHellman],
  ])('costs no computation in place of a CSR: %s', (_what, make) => {
    const csrs = Array.from({ length: 6 }, make);
    expect(cpuMs(() => expect(csrs.some((csr) => checkCsr(csr).ok)).toBe(false))).toBeLessThan(1000);
    expect(checkCsr(make())).toMatchObject({ problem: { message: expect.stringMatching(/is a private key/) } });
  });

  it('costs no more than a look at each byte: NULs that are not at the end', () => {
    const nuls = '\0'.repeat(4000);
    const payload = Buffer.from(`{${nuls}${nuls}x`);
    const times = (count: number, work: () => void) => () => {
      for (let done = 0; done < count; done++) work();
    };
    expect(cpuMs(times(100, () => expect(readPayload(payload)).toHaveProperty('fault')))).toBeLessThan(1000);
    expect(cpuMs(times(400, () => expect(checkCsr(`${nuls}x`).ok).toBe(false)))).toBeLessThan(1000);
  });
});
