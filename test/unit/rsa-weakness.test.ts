import { checkPrimeSync, generateKeyPairSync, generatePrimeSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { rsaWeakness } from '../../broker/rsa-weakness.ts';

const prime = (bits: number) => generatePrimeSync(bits, { bigint: true });

function nextPrime(from: bigint): bigint {
  let candidate = from | 1n;
  while (!checkPrimeSync(candidate)) candidate += 2n;
  return candidate;
}

/** A prime as the weak chips made them: k·M + (65537^a mod M), with M the product of the first 39 primes. */
function rocaPrime(a: number): bigint {
  let product = 1n;
  for (let candidate = 2n; candidate <= 167n; candidate += 1n) if (checkPrimeSync(candidate)) product *= candidate;
  let power = 1n;
  for (let count = 0; count < a; count++) power = (power * 65537n) % product;
  let k = prime(800);
  while (!checkPrimeSync(k * product + power)) k += 1n;
  return k * product + power;
}

describe('an RSA modulus', () => {
  it('of a key that OpenSSL generated is not found to be weak', () => {
    for (let count = 0; count < 3; count++) {
      const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
      expect(rsaWeakness(BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`))).toBeUndefined();
    }
  });

  it('of two primes that are close to each other is found to be weak', () => {
    const p = prime(1024);
    expect(rsaWeakness(p * nextPrime(p + 2n))).toContain('close');
    expect(rsaWeakness(p * nextPrime(p + (1n << 500n)))).toContain('close');
    expect(rsaWeakness(p * p)).toContain('close');
  });

  it('with a small factor is found to be weak', () => {
    expect(rsaWeakness(751n * prime(2038))).toContain('small factor');
  });

  it('of a chip with the ROCA weakness is found to be weak', () => {
    expect(rsaWeakness(rocaPrime(1234) * rocaPrime(98_765))).toContain('ROCA');
  });

  it('is checked without a noticeable delay', () => {
    const modulus = prime(2048) * prime(2048);
    expect(rsaWeakness(modulus)).toBeUndefined();
  });
});
