import { isSerial } from '../protocol/serial.ts';

/** Gives the first serials of the site from a text on, itself included, in the order of their bytes. @param limit how many at most */
export type SerialsFrom = (text: string, limit: number) => Promise<readonly string[]>;

/** Characters that people take for each other on a label, in upper case. */
const lookAlikes: readonly string[] = ['0OQD', '1IL', '2Z', '5S', '8B'];

/** In the order of their bytes. */
export const separators = '-:_';

const serialCharacters = inOrder(`ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789${separators}`);

/** How often one search asks for serials. What a person mistypes takes some twenty; docs/console.md has the time of the longest search. */
export const mostSeeks = 300;

/** Serials that are enough, and with fewer characters too many serials fit. */
const [enough, fewestCharacters] = [5, 3];

/** The characters that people take for this one. */
function charactersLike(each: string): string {
  const upper = each.toUpperCase();
  const group = lookAlikes.find((letters) => letters.includes(upper)) ?? upper;
  return group + group.toLowerCase();
}

/** Each once, in the order of their bytes. */
function inOrder(characters: string): string {
  return [...new Set(characters)].sort().join('');
}

/**
 * Serials of the site that are easily taken for this one, and then longer ones that begin so: five at most. It asks for the serial that comes
 * next, goes on from the first text behind it that can begin a fitting one, and so passes over all that cannot fit. Its cost does not grow with
 * the number of serials, but for the logarithm; of serials that were made to look alike, it finds those that `mostSeeks` come to.
 * @param serialsFrom by an index. What it throws is thrown
 */
export async function findAlikeSerials(serial: string, serialsFrom: SerialsFrom): Promise<string[]> {
  const form = [...serial].filter((each) => !separators.includes(each)).map(charactersLike);
  if (form.length < fewestCharacters) return [];
  const found = new Set<string>();
  let seeks = 0;
  for (const atTheEnd of [separators, serialCharacters]) {
    const places = [...form.map((characters) => inOrder(characters + separators)), atTheEnd];
    let from: string | undefined = '';
    while (from !== undefined && found.size < enough && seeks < mostSeeks) {
      seeks++;
      const next = await serialsFrom(from, enough);
      for (const each of next) {
        if (from === undefined || each < from) continue;
        const compared = compare(each, places);
        if (compared.fits && isSerial(each) && found.size < enough) found.add(each);
        from = compared.next;
      }
      if (next.length < enough) break;
    }
  }
  return [...found];
}

/**
 * @param places the characters that each place may have, separators included; the last one: how a serial may go on behind them
 * @returns `next`: the first text behind this one that a fitting serial can begin with
 */
function compare(serial: string, places: readonly string[]): { readonly fits: boolean; readonly next?: string } {
  const last = places.length - 1;
  // the place that each of its characters stands for; a separator stands for none, and the next character for the same one
  const placed = [0];
  let length = 0;
  for (; length < serial.length; length++) {
    const [character = '', place = 0] = [serial[length], placed[length]];
    if (!places[place]?.includes(character)) break;
    placed.push(separators.includes(character) ? place : Math.min(place + 1, last));
  }
  const fits = length === serial.length && placed[length] === last;
  for (let at = length; at >= 0; at--) {
    const later = [...(places[placed[at] ?? 0] ?? '')].find((each) => each > (serial[at] ?? ''));
    if (later !== undefined) return { fits, next: serial.slice(0, at) + later };
  }
  return { fits };
}
