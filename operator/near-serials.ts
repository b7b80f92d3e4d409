import { isSerial } from '../protocol/serial.ts';
import { findAlikeSerials, type SerialsFrom, separators } from './alike-serials.ts';

/** How many variants are looked up one by one. */
const maxVariants = 16;

const eachSeparator = new RegExp(`[${separators}]`, 'g');

/** Serials that a person may have meant, the likeliest first: at most 16, so that each can be looked up. */
export function variantsOf(serial: string): string[] {
  const bare = serial.replace(eachSeparator, '');
  const cases = [serial.toUpperCase(), serial.toLowerCase()];
  const pairs = /^[0-9A-Fa-f]{12}$/.test(bare) ? [':', '-'].map((by) => (bare.match(/../g) ?? []).join(by)) : [];
  const addresses = pairs.flatMap((pair) => [pair.toUpperCase(), pair.toLowerCase()]);
  const separated = ['-', '_', ':'].map((by) => serial.replace(eachSeparator, by));
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

/** Where serials can be looked for. */
export type SerialSource = {
  /** whether there is a device of this serial, at whatever site */
  isEnrolled(serial: string): Promise<boolean>;
  /** the list of the site's devices */
  readonly serialsFrom: SerialsFrom;
};

/** Enrolled serials that somebody may have meant by one that is not enrolled: five at most. Scans neither the table nor Redis. */
export async function findNearSerials(serial: string, { isEnrolled, serialsFrom }: SerialSource): Promise<string[]> {
  if (!isSerial(serial)) return [];
  const [alike, variants] = await Promise.all([
    findAlikeSerials(serial, serialsFrom).catch(() => []),
    Promise.all(variantsOf(serial).map(async (each) => ((await isEnrolled(each)) ? [each] : []))),
  ]);
  const found = new Set([...variants.flat(), ...alike]);
  found.delete(serial);
  return [...found].slice(0, 5);
}
