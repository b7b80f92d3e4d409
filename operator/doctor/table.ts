import { failures } from '../failures.ts';
import { ofAws } from './aws.ts';
import { type Check, fail, ok, skipped, warn } from './check.ts';

const ofWorker = { parts: ['worker'] as const, quick: false, atStart: false };

export const tableChecks: readonly Check[] = [
  {
    id: 'table',
    title: 'table',
    finds: 'there is no table CVM_TABLE in this region, it is no association table, or it is not ready',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.table, (table) => {
        const { table: name } = sources.settings;
        if (table === undefined)
          return fail({
            seen: `there is no table "${name}" in this region`,
            cause: 'no device is known',
            cure: failures['table-missing'].cure,
          });
        if (!table.isAssociationTable)
          return fail({
            seen: `"${name}" has the key ${table.keys.join(', ')}`,
            cause: 'an association table has the key "productId" (a string) alone, and keys cannot be changed',
            cure: 'name another table in CVM_TABLE, and create it with "cvm aws setup"',
          });
        return table.status === 'ACTIVE' || table.status === 'UPDATING'
          ? // AWS counts the rows every six hours
            ok(`"${name}"${table.rows === 0 ? '' : `, with about ${table.rows} rows`}`)
          : fail({
              seen: `"${name}" is in the state ${table.status}`,
              cause: 'it cannot be read',
              cure: 'wait, or see it in the DynamoDB console',
            });
      }),
  },
  {
    id: 'table-index',
    title: 'index by site',
    finds: 'the table has no index by site (a failure where CVM_SITE is set), or AWS is still building it',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.table, (table) => {
        if (table === undefined) return skipped('there is no table');
        if (table.index === 'there') return ok('there');
        const { site } = sources.settings;
        const cause = 'a gateway with CVM_SITE reads the devices of its site by it';
        if (table.index === 'being-built')
          return warn({ seen: 'AWS is building it', cause, cure: 'wait; that takes minutes to hours' });
        // not by --fix: it costs a write unit for each row, which "cvm aws setup" says first
        const cure = 'run "cvm aws setup", which says what the index costs, and then "cvm aws setup --yes"';
        return site === undefined
          ? ok('missing, and not needed without CVM_SITE')
          : fail({ seen: 'missing', cause, cure });
      }),
  },
  {
    id: 'table-backups',
    title: 'point-in-time recovery',
    finds: 'the table has no point-in-time recovery: rows that are deleted by mistake are gone',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.backups, (state) => {
        if (state === 'on') return ok('on');
        if (state === 'none')
          return skipped(
            'the service that has this table is not that of AWS, and has no backups: copy its data folder',
          );
        return warn({
          seen: 'off',
          cause: 'rows that are deleted or overwritten by mistake cannot be brought back',
          cure: 'run "cvm aws setup", which turns it on (docs/restoring.md says what else a restored table needs)',
        });
      }),
  },
  {
    id: 'table-time-to-live',
    title: 'time to live',
    finds: 'DynamoDB deletes rows of the table by another attribute than the one of the gateway',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.timeToLive, (attribute) =>
        attribute === undefined || attribute === sources.settings.timeToLiveAttribute
          ? ok(attribute === undefined ? 'off: no row is deleted by itself' : `by ${attribute}`)
          : fail({
              seen: `DynamoDB deletes rows by the attribute "${attribute}"`,
              cause: 'a device whose row is deleted is unknown, and its certificate stays active',
              cure: `aws dynamodb update-time-to-live --table-name ${sources.settings.table} --time-to-live-specification Enabled=false,AttributeName=${attribute}`,
            }),
      ),
  },
  {
    id: 'sweep',
    title: 'last sweep',
    finds: 'no worker has compared the table with AWS IoT Core for three times as long as CVM_SWEEP_INTERVAL',
    ...ofWorker,
    look: (sources) =>
      ofAws(sources, sources.sweptAt, (at) => {
        const { sweepEveryMs } = sources.settings;
        if (at === undefined) return skipped('there was none yet; a worker makes the first one within the hour');
        const seen = `at ${new Date(at).toISOString()}`;
        return sources.now() - at > 3 * sweepEveryMs
          ? warn({
              seen,
              cause: 'what crashes left in AWS IoT Core stays there, such as certificates that no device holds',
              cure: 'look whether a worker runs, and at its log; "cvm sweep" sweeps now',
            })
          : ok(seen);
      }),
  },
];
