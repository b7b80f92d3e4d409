import { expect, it } from 'vitest';
import { measureTableReads } from '../bench/table-reads.ts';

it('an idle site of a hundred reads in an hour less than a hundredth of what the table holds, and starts with its own rows', async () => {
  const whole = await measureTableReads();
  expect(whole.share).toBeLessThanOrEqual(0.01);
  expect(whole.held).toBe(whole.devicesPerSite);
  expect(whole.startUnits).toBeLessThanOrEqual(whole.wholeTableUnits / whole.sites);
  expect(whole.announcedUnits.own).toBeLessThan(1.1);
  expect(whole.announcedUnits.other).toBe(0);
});

it('what a site reads in an idle hour, and at its start, does not grow with the other sites', async () => {
  const few = await measureTableReads({ sites: 2, devicesPerSite: 1000 });
  const many = await measureTableReads({ sites: 30, devicesPerSite: 1000 });
  // but for the one row with the keys of all gateways
  expect(many.idleHourUnits).toBeLessThan(few.idleHourUnits * 1.05);
  expect(many.startUnits).toBeLessThan(few.startUnits * 1.15);
  expect(many.announcedUnits).toEqual(few.announcedUnits);
});
