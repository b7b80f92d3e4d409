import type { Rows } from '../rows.ts';
import { listedAtMost, type SilentDevice, type SilentDevices, type SilentReport } from '../silent-devices.ts';

/** `oldest`: as JSON, one array a device, which is a third of the room of objects. */
export type SilentRow = Partial<Omit<SilentReport, 'oldest'>> & { readonly oldest?: string };

const key = '#silent';

type Packed = readonly [serial: string, issuedAt: number, site?: string];

export function createSilentDevices(rows: Rows<SilentRow>): SilentDevices {
  return {
    async write({ oldest, reason, ...counts }) {
      const packed = oldest
        .slice(0, listedAtMost)
        .map(
          ({ serial, issuedAt, site }): Packed => (site === undefined ? [serial, issuedAt] : [serial, issuedAt, site]),
        );
      await rows.upsert(key, { set: { ...counts, reason, oldest: JSON.stringify(packed) } });
    },
    async read() {
      const { at, count = 0, unasked = 0, reason, oldest = '[]' } = (await rows.find(key)) ?? {};
      return at === undefined ? undefined : { at, count, unasked, reason, oldest: unpacked(oldest) };
    },
  };
}

function unpacked(text: string): readonly SilentDevice[] {
  return (JSON.parse(text) as Packed[]).map(([serial, issuedAt, site]) => ({
    serial,
    issuedAt,
    ...(site === undefined ? {} : { site }),
  }));
}
