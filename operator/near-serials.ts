import { isSerial } from '../protocol/serial.ts';

/** Characters that people take for each other on a label. Each is the sound form of those after it. */
const lookAlikes: readonly string[] = ['0OoQD', '1IiLl', '2Zz', '5Ss', '8Bb'];

/** How many variants are looked up one by one. */
const maxVariants = 16;

const separators = /[:_-]/g;

/** Two serials with the same form are easily taken for each other: they differ in case, separators, or characters that look alike. */
export function soundForm(serial: string): string {
  const plain = serial.replace(separators, '').toUpperCase();
  return [...plain].map((each) => lookAlikes.find((group) => group.includes(each))?.[0] ?? each).join('');
}

/** Serials that a person may have meant, the likeliest first: at most 16, so that each can be looked up. */
export function variantsOf(serial: string): string[] {
  const bare = serial.replace(separators, '');
  const cases = [serial.toUpperCase(), serial.toLowerCase()];
  const pairs = /^[0-9A-Fa-f]{12}$/.test(bare) ? [':', '-'].map((by) => (bare.match(/../g) ?? []).join(by)) : [];
  const addresses = pairs.flatMap((pair) => [pair.toUpperCase(), pair.toLowerCase()]);
  const separated = ['-', '_', ':'].map((by) => serial.replace(separators, by));
  const swapped = [
    [/[Oo]/g, '0'],
    [/0/g, 'O'],
    [/[IlL]/g, '1'],
    [/1/g, 'I'],
  ] as const;
  const alike = swapped.map(([from, to]) => serial.replace(from, to));
  const all = [...cases, bare, bare.toUpperCase(), ...addresses, ...alike, ...separated];
  return [...new Set(all)].filter((each) => each !== serial && isSerial(each)).slice(0, maxVariants);
}

/** A pattern of Redis. It matches every serial that contains this one, whatever the case and characters that look alike. */
export function patternOf(serial: string): string {
  const classOf = (each: string) => {
    const group = lookAlikes.find((letters) => letters.includes(each));
    if (group !== undefined) return `[${group}]`;
    return /[A-Za-z]/.test(each) ? `[${each.toUpperCase()}${each.toLowerCase()}]` : /[:_-]/.test(each) ? '?' : each;
  };
  return `*${[...serial].map(classOf).join('')}*`;
}

/** Where serials can be looked for. */
export type SerialSource = {
  /** whether there is a device of this serial */
  isEnrolled(serial: string): Promise<boolean>;
  /** some enrolled serials that fit the pattern: by what is known on the site, without a scan of the table */
  matching(pattern: string): Promise<readonly string[]>;
};

/** Enrolled serials that somebody may have meant by one that is not enrolled. Never scans the table. */
export async function findNearSerials(serial: string, source: SerialSource): Promise<string[]> {
  if (!isSerial(serial)) return [];
  const [matching, variants] = await Promise.all([
    serial.length < 3 ? [] : source.matching(patternOf(serial)).catch(() => []),
    Promise.all(variantsOf(serial).map(async (each) => ((await source.isEnrolled(each)) ? [each] : []))),
  ]);
  const found = new Set([...variants.flat(), ...matching]);
  found.delete(serial);
  return [...found].slice(0, 5);
}
