import type { Changes } from '../changes.ts';
import type { Rows } from '../rows.ts';

/** `#changes` counts the announcements; the rows `#change:0` and up are a ring of the latest ones. A site has a counter and a ring of its own. */
export type Announcement = { readonly number?: number; readonly serials?: readonly string[] };

/** The number of serials in each announcement (an item of DynamoDB holds 400 KB). */
const atMost = 1000;

/** Announcements that are remembered. A site that missed more reads its own rows, which are few; each slot is a row that a sweep reads. */
const [remembered, rememberedOfSite] = [1000, 100];

const counterOf = (site: string | undefined) => (site === undefined ? '#changes' : `#changes:${site}`);
const slotOf = (number: number, site: string | undefined) =>
  site === undefined ? `#change:${number % remembered}` : `#change:${site}:${number % rememberedOfSite}`;

export function createChanges(rows: Rows<Announcement>): Changes {
  async function announceSome(serials: readonly string[], site?: string): Promise<void> {
    const number = (await rows.upsert(counterOf(site), { increase: { number: 1 } }))?.number ?? 0;
    // DynamoDB knows no empty set
    await rows.upsert(slotOf(number, site), { set: { number, serials: serials.length === 0 ? undefined : serials } });
  }

  return {
    async announce(serials, site) {
      const once = [...new Set(serials)];
      for (let start = 0; start < once.length; start += atMost)
        await announceSome(once.slice(start, start + atMost), site);
    },
    advance: () => announceSome([]),
    async latest(site) {
      return (await rows.find(counterOf(site)))?.number ?? 0;
    },
    async glance(site) {
      return (await rows.glance(counterOf(site)))?.number ?? 0;
    },
    async read(number, site) {
      const { number: found = 0, serials = [] } = (await rows.find(slotOf(number, site))) ?? {};
      if (found === number) return serials;
      return found < number ? 'not-yet' : 'overwritten';
    },
  };
}
