import { timeText } from '../../operator/view.ts';
import type { SilentReport } from '../../registry/silent-devices.ts';
import { counted } from '../../runtime/counted.ts';
import { plainRow, tableLines } from '../table.ts';
import type { DevicesContext } from './context.ts';

const columns = [{ title: 'SERIAL', cut: true }, { title: 'SILENT SINCE' }, { title: 'SITE', cut: true }];
const widths = [32, 24];

/**
 * Lists the devices that have a certificate and never connected with it, those that are silent for longest first. It reads one row, which
 * the latest sweep wrote, and not the table.
 */
export async function listSilent(
  { operator, write, terminal }: Pick<DevicesContext, 'operator' | 'write' | 'terminal'>,
  { site, json = false }: { readonly site?: string | undefined; readonly json?: boolean | undefined },
): Promise<void> {
  const report = await (await operator()).silent.read();
  if (report === undefined) {
    console.error(
      'cvm: no sweep has looked for silent devices yet: a running worker does so every CVM_SWEEP_INTERVAL; the first one follows its start within minutes',
    );
    return;
  }
  const shown = report.oldest.filter((device) => site === undefined || device.site === site);
  if (json)
    for (const { issuedAt, ...device } of shown) write(JSON.stringify({ ...device, silentSince: timeText(issuedAt) }));
  else {
    const rows = shown.map(({ serial, issuedAt, site: its = '' }) => [serial, timeText(issuedAt), its]);
    const lines =
      terminal === undefined ? rows.map((row) => plainRow(row, widths)) : tableLines(columns, rows, terminal);
    if (rows.length > 0) for (const line of lines) write(line);
  }
  for (const remark of remarks(report, shown.length, site)) console.error(`cvm: ${remark}`);
}

function remarks({ at, count, unasked, reason, oldest }: SilentReport, shown: number, site?: string): string[] {
  const ofSite = site === undefined ? '' : ` of the site ${site}`;
  const when = `as the sweep of ${timeText(at)} found`;
  const first =
    shown === 0
      ? `no silent device${ofSite}, ${when}`
      : `${counted(shown, 'device')}${ofSite} with a certificate and without any connection to AWS IoT Core, ${when}. A device that comes alive leaves the list at the next sweep; "cvm devices show SERIAL" has what is known now`;
  return [
    first,
    ...(count > oldest.length ? [`the list has the ${oldest.length} that are silent for longest, of ${count}`] : []),
    ...(unasked > 0
      ? [`${counted(unasked, 'device')} more: AWS was not asked about them yet; each sweep asks about some`]
      : []),
    ...(reason === undefined ? [] : [`AWS cannot be asked: ${reason}`]),
  ];
}
