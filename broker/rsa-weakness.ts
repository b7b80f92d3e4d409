/**
 * RSA keys that can be factored because of how they were generated: the three checks of the Baseline Requirements for
 * publicly trusted certificates, §6.1.1.3. Cheap enough to be made for each CSR.
 * @see https://cabforum.org/working-groups/server/baseline-requirements/
 */
const primes = primesBelow(752);

/** Why this modulus is weak; undefined when none of the three checks finds a weakness. */
export function rsaWeakness(modulus: bigint): string | undefined {
  if (primes.some((prime) => modulus % BigInt(prime) === 0n)) return 'its modulus has a small factor';
  if (isRoca(modulus)) return 'it was made by a chip with the ROCA weakness (CVE-2017-15361)';
  if (hasCloseFactors(modulus)) return 'its two primes are close to each other (CVE-2022-26320)';
  return undefined;
}

/** The primes up to 167, of which ROCA's smallest keys are built, each with the subgroup that 65537 generates. */
const subgroups = primes
  .filter((prime) => prime > 2 && prime <= 167)
  .map((prime) => ({ prime: BigInt(prime), members: generatedBy(65537 % prime, prime) }));

/**
 * ROCA's primes are k·M + (65537^a mod M), so its moduli are powers of 65537 modulo each small prime.
 * M. Nemec and others, The Return of Coppersmith's Attack, ACM CCS 2017, §3.
 */
function isRoca(modulus: bigint): boolean {
  return subgroups.every(({ prime, members }) => members.has(Number(modulus % prime)));
}

function generatedBy(generator: number, prime: number): ReadonlySet<number> {
  const members = new Set<number>();
  for (let power = 1; !members.has(power); power = (power * generator) % prime) members.add(power);
  return members;
}

const fermatRounds = 110;

/** A few rounds of Fermat's factorization: finds two factors whose difference is small against their size. */
function hasCloseFactors(modulus: bigint): boolean {
  let a = squareRoot(modulus);
  if (a * a < modulus) a += 1n;
  for (let round = 0; round < fermatRounds; round++, a += 1n) {
    const rest = a * a - modulus;
    // few values modulo 64 are those of a square, so most candidates need no square root
    if (squareEndings.has(Number(rest & 63n)) && squareRoot(rest) ** 2n === rest) return true;
  }
  return false;
}

const squareEndings: ReadonlySet<number> = new Set(Array.from({ length: 64 }, (_, value) => (value * value) & 63));

/** The largest integer whose square is at most `value` (Newton's method). */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt(Math.ceil(value.toString(2).length / 2));
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

function primesBelow(limit: number): number[] {
  const found: number[] = [];
  for (let candidate = 2; candidate < limit; candidate++)
    if (found.every((prime) => candidate % prime !== 0)) found.push(candidate);
  return found;
}
