import { type Row, type RowContext, rounded } from '../row.ts';
import { measureTableReads } from '../table-reads.ts';

/** What a gateway reads of the table, by the code of the product and DynamoDB's rules. Like `waiting`, it imports the product. */
export const tables: Row = {
  name: 'tables',
  title: 'read units of a site, in a fleet of 100 sites with 10,000 devices each',
  minutes: 1,
  async run({ say }: RowContext) {
    const fleet = await measureTableReads();
    const alone = await measureTableReads({ sites: 1, devicesPerSite: 1000 });
    const among = await measureTableReads({ sites: 1000, devicesPerSite: 1000 });
    say(`calls of an idle hour: ${JSON.stringify(fleet.idleHourCalls)}`);
    return {
      figures: [
        {
          name: 'read units of an idle site in an hour',
          value: rounded(fleet.idleHourUnits, 0),
          unit: `of ${fleet.wholeTableUnits} for the table (${rounded(fleet.share * 100)} %)`,
          goal: '≤ 1 %',
          holds: fleet.share <= 0.01,
        },
        {
          name: 'read units of the start of a site of 1,000 among 1,000,000',
          value: rounded(among.startUnits, 0),
          // what is more than alone is the row of the gateways, one of each site
          unit: `(${rounded(alone.startUnits, 0)} where it is the only site)`,
          goal: `≤ 1 % of ${among.wholeTableUnits} for the table`,
          holds: among.startUnits <= 0.01 * among.wholeTableUnits,
        },
        {
          name: 'CPU of reading the roster of 1,000, among 1,000,000',
          value: rounded(among.startCpuMs, 0),
          unit: `ms (alone ${rounded(alone.startCpuMs, 0)} ms)`,
          goal: '≤ 3000 ms',
          holds: among.startCpuMs <= 3000,
        },
      ],
    };
  },
};
