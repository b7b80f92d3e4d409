import { createHash } from 'node:crypto';
import { malformedToken } from '../protocol/token.ts';

/**
 * A token is stored as a plain hash, which can be tried offline billions of times a second: a token needs 128 random bits.
 * Whether a text is random cannot be proved. What can be told is that it has a short description: few kinds of characters,
 * repeats, sequences, usual words, the serial, the token before it. Here the shortest description is counted in bits.
 *
 * A random token is hardly ever refused, and that can be calculated. The descriptions are a prefix code, so of all random
 * texts of H bits at most one in 2^k is described in H − k bits (Kraft's inequality; a test adds up what is left out here). A token that `makeToken` makes has 160 bits, and 115 are needed.
 */
const neededBits = 128;

/** 22 characters of base64url have 128 bits. */
const minLength = 22;

/** A text with 128 random bits may look, by chance, as if it had this many fewer: one in a million does. */
const chanceBits = 20;

/** Of digits, hex, base32, base36 and base64: what usual generators draw from. */
const usualAlphabets = [10, 16, 32, 36, 64];

const advice = 'leave it out, and a token is made; or draw 32 hex digits or 22 characters of base64url at random';

export type KnownBeside = {
  /** the serial of the token's device */
  readonly serial?: string;
  /** the token of the line before, in the same file */
  readonly before?: string | undefined;
};

/**
 * Why a token that was made elsewhere is not accepted; undefined when it is. Never quotes the token.
 * @param cure what to do about one that can be guessed
 */
export function tokenFault(
  token: string,
  { serial = '', before = '' }: KnownBeside = {},
  cure: string = advice,
): string | undefined {
  const found = weaknessOf(token, { serial, before });
  if (found === undefined) return undefined;
  return found.id === 'short' || found.id === 'weak' ? `${found.reason}: ${cure}` : found.reason;
}

/** `characters`, `length`: it can be no token at all. */
export type TokenWeakness = { readonly id: 'characters' | 'length' | 'short' | 'weak'; readonly reason: string };

/** The same as `tokenFault`, without what to do. */
export function weaknessOf(token: string, { serial = '', before = '' }: KnownBeside = {}): TokenWeakness | undefined {
  const fault = malformedToken(token);
  if (fault !== undefined) return { id: /^[\x21-\x7e]{513,}$/.test(token) ? 'length' : 'characters', reason: fault };
  if (token.length < minLength)
    return {
      id: 'short',
      reason: `the token has ${token.length} characters; at least ${minLength} (${neededBits} random bits) are needed`,
    };
  const weak = (reason: string) => ({ id: 'weak', reason }) as const;
  if (uuid.test(token)) return weak('the token is a UUID, which has at most 122 random bits');
  if (derivedFrom(serial, token)) return weak('the token is a hash of the serial, which anyone can calculate');

  const text = withoutSeparators(token);
  const needed = bitsNeeded(text.length);
  const spelled = formsOf(serial);
  if (descriptionBits(text, [...sequences, ...spelled, before]) >= needed) return undefined;
  // what makes it weak: the first of these with which the description is short enough
  const causes: readonly (readonly [description: number, cause: string])[] = [
    [text.length * Math.log2(alphabetSize(text)), 'the token has too few kinds of characters for its length'],
    [descriptionBits(text, [], noWords), 'the token repeats itself'],
    [descriptionBits(text, spelled, noWords), 'the token has the serial in it'],
    [descriptionBits(text, sequences), 'the token consists of sequences or usual words'],
    [descriptionBits(text, [...sequences, ...spelled]), 'the token consists of the serial and usual words'],
    [0, 'the token is much like the one of the line before'],
  ];
  const cause = causes.find(([bits]) => bits < needed)?.[1];
  return weak(`${cause}; it needs ${neededBits} random bits`);
}

/** How long the description of a text of this length must be. */
export function bitsNeeded(length: number): number {
  const full = usualAlphabets.map((size) => length * Math.log2(size)).filter((bits) => bits >= neededBits);
  return Math.min(neededBits, ...full.map((bits) => bits - chanceBits));
}

/** The bits of a mark in the description that no character follows, but a copy or a word. */
const markBits = 6;

/**
 * The length in bits of the shortest description of a text: as characters of its alphabet, as copies of `known` texts or of its own
 * beginning, and as usual words.
 */
export function descriptionBits(text: string, known: readonly string[], words: Words = usualWords): number {
  const whole = known.join('') + text;
  const start = whole.length - text.length;
  const literal = Math.log2(alphabetSize(text));
  const shortest = new Array<number>(text.length + 1).fill(Number.POSITIVE_INFINITY);
  shortest[0] = 0;
  const reach = (at: number, bits: number) => {
    shortest[at] = Math.min(shortest[at] ?? bits, bits);
  };
  for (let at = 0; at < text.length; at++) {
    const bits = shortest[at] ?? 0;
    reach(at + 1, bits + literal);
    const copy = markBits + Math.log2(start + at + 1) + Math.log2(text.length);
    const worthwhile = Math.floor(copy / literal) + 1;
    const longest = longestCopy(whole, start + at, worthwhile);
    for (let length = worthwhile; length <= longest; length++) reach(at + length, bits + copy);
    for (const length of wordsAt(text, at, words)) reach(at + length, bits + wordBits);
  }
  return shortest[text.length] ?? 0;
}

/** How many of the characters at `at` stand before it as well; 0 when fewer than `shortest` do. */
function longestCopy(text: string, at: number, shortest: number): number {
  if (at + shortest > text.length) return 0;
  const beginning = text.slice(at, at + shortest);
  let longest = 0;
  for (let from = text.indexOf(beginning); from < at; from = text.indexOf(beginning, from + 1)) {
    let length = shortest;
    while (at + length < text.length && text[from + length] === text[at + length]) length++;
    longest = Math.max(longest, length);
  }
  return longest;
}

/** The lengths of the words that begin at `at`, each with the separator before it. */
function wordsAt(text: string, at: number, words: Words): number[] {
  const separator = /[-_]/.test(text[at] ?? '') ? 1 : 0;
  const begin = at + separator;
  const candidates = words.get((text[begin] ?? '').toLowerCase()) ?? [];
  return candidates
    .filter((word) => {
      const here = text.slice(begin, begin + word.length);
      return here === word || here === word.toUpperCase() || here === capitalized(word);
    })
    .map((word) => separator + word.length);
}

const capitalized = (word: string) => word.slice(0, 1).toUpperCase() + word.slice(1);

/** How many characters the alphabet has that a text was drawn from, as far as its characters show. */
function alphabetSize(text: string): number {
  if (/^\d*$/.test(text)) return 10;
  if (isHex(text)) return 16;
  const kinds: readonly (readonly [RegExp, number])[] = [
    [/[a-z]/, 26],
    [/[A-Z]/, 26],
    [/\d/, 10],
    [/[-_]/, 2],
    [/[^\w-]/, 30],
  ];
  return kinds.reduce((size, [kind, characters]) => size + (kind.test(text) ? characters : 0), 0);
}

const isHex = (text: string) => /^(?:[\da-f]*|[\dA-F]*)$/.test(text);
const uuid = /^\{?[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\}?$/i;

/** `ab:cd:ef` and `1234-5678` are no more random than their digits. Nor is the padding of base64. */
function withoutSeparators(token: string): string {
  const bare = token.replace(/[-:._]/g, '');
  return isHex(bare) ? bare : token.replace(/={1,2}$/, '');
}

/** The serial as people write it into a token: in any case, with or without separators. */
function formsOf(serial: string): string[] {
  const bare = serial.replace(/[-:_]/g, '');
  return [...new Set([serial, bare].flatMap((form) => [form, form.toLowerCase(), form.toUpperCase()]))];
}

/** Whether the token is a usual hash of the serial, or the beginning of one. */
function derivedFrom(serial: string, token: string): boolean {
  if (serial === '') return false;
  const wanted = token.toLowerCase();
  return ['md5', 'sha1', 'sha256', 'sha512'].some((algorithm) => {
    const hash = createHash(algorithm).update(serial).digest();
    return (
      hash.toString('hex').startsWith(wanted) ||
      hash.toString('base64url').startsWith(token) ||
      hash.toString('base64').startsWith(token)
    );
  });
}

const keyboard = [
  'qwertyuiopasdfghjklzxcvbnm',
  '1qaz2wsx3edc4rfv5tgb',
  'a1b2c3d4e5f6g7h8i9j0',
  'a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6',
];
const alphabet = 'abcdefghijklmnopqrstuvwxyz';
const downwards = (text: string) => [...text].reverse().join('');
const sequences = [
  `0123456789${alphabet}`,
  `0123456789${alphabet.toUpperCase()}`,
  downwards(`0123456789${alphabet}`),
  downwards(alphabet.toUpperCase()),
  ...keyboard,
];

/** By their first character, in lower case. */
type Words = ReadonlyMap<string, readonly string[]>;

/** Words of tokens that stand for one: placeholders, examples, and the token that our README shows. */
const listOfWords = [
  'access acme admin api auth batch battery beef cafe cert certificate change changeme client cloud company correct customer',
  'dead default demo deploy dev device devices dummy edge enrol enroll enrolment enter example factory fake field first foo',
  'for gateway goes hello here horse initial insert iot key line local login new none not null number one onetime operator',
  'our pass password passwort placeholder please plant prod product production provision provisioning put random register',
  'registration replace root sample secret secure sensor serial server shared site some staple string super temp test text',
  'that the there thing this time todo token tokens unit unknown use user value very welcome with wrong xxxx your',
  '0001 1234 2023 2024 2025 2026 2027 2028',
  'RT0Y4-azE46RqutoLguqQJ-ZrrU',
].flatMap((line) => line.split(' '));

const firstOf = (word: string) => word.slice(0, 1).toLowerCase();
const usualWords: Words = new Map(
  listOfWords.map((word) => [firstOf(word), listOfWords.filter((other) => firstOf(other) === firstOf(word))]),
);
const noWords: Words = new Map();

/** In lower or upper case or capitalized, and alone or after one of two separators. */
const wordBits = markBits + Math.log2(listOfWords.length * 3 * 3);
