import type { Changes } from '../changes.ts';
import type { Rows } from '../rows.ts';

/** `#changes` counts the announcements; the rows `#change:0` and up are a ring of the latest ones. */
export type Announcement = { readonly number?: number; readonly serials?: readonly string[] };

/** The number of announcements that are remembered, and of serials in each (an item of DynamoDB holds 400 KB). */
const [remembered, atMost] = [1000, 1000];

const counter = '#changes';
const slot = (number: number) => `#change:${number % remembered}`;

export function createChanges(rows: Rows<Announcement>): Changes {
  async function announceSome(serials: readonly string[]): Promise<void> {
    const number = (await rows.upsert(counter, { increase: { number: 1 } }))?.number ?? 0;
    // DynamoDB knows no empty set
    await rows.upsert(slot(number), { set: { number, serials: serials.length === 0 ? undefined : serials } });
  }

  return {
    async announce(serials) {
      const once = [...new Set(serials)];
      for (let start = 0; start < once.length; start += atMost) await announceSome(once.slice(start, start + atMost));
    },
    advance: () => announceSome([]),
    async latest() {
      return (await rows.find(counter))?.number ?? 0;
    },
    async read(number) {
      const { number: found = 0, serials = [] } = (await rows.find(slot(number))) ?? {};
      if (found === number) return serials;
      return found < number ? 'not-yet' : 'overwritten';
    },
  };
}
