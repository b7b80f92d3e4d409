import { Command, Option } from 'commander';
import { type DeviceView, listDevices } from '../../operator/view.ts';
import { cureOf, type RowFault } from '../../registry/row-faults.ts';
import { counted } from '../../runtime/counted.ts';
import { siteName } from '../site-name.ts';
import type { DevicesContext } from './context.ts';

const states: readonly DeviceView['state'][] = [
  'enrolled',
  'provisioning',
  'registered',
  'blocked',
  'unknown',
  'being-removed',
];

type Options = { state?: DeviceView['state']; site?: string; json?: boolean };

export function listCommand(context: DevicesContext): Command {
  return new Command('list')
    .description('list all devices')
    .addOption(new Option('--state <state>', 'only devices in this state').choices(states))
    .option('--site <name>', 'only devices of this site', siteName)
    .option('--json', 'one JSON object a line')
    .action((options: Options) => list(context, options));
}

async function list({ operator, write }: DevicesContext, { state, site, json }: Options): Promise<void> {
  const deps = operator();
  const faulty = new Map<RowFault, { first: string; count: number }>();
  let listed = 0;
  for await (const device of listDevices({ state, site }, deps)) {
    listed++;
    const { serial, fault, certificateId = '' } = device;
    if (fault !== undefined) {
      const { first = serial, count = 0 } = faulty.get(fault) ?? {};
      faulty.set(fault, { first, count: count + 1 });
    }
    const ofSite = device.site === undefined ? '' : `site ${device.site}`;
    const columns = [
      serial.padEnd(32),
      device.state.padEnd(13),
      certificateId,
      ...[ofSite, fault ?? ''].filter(Boolean),
    ];
    write(json ? JSON.stringify(device) : columns.join('  ').trimEnd());
  }
  if (listed === 0) console.error(`cvm: no device of the table ${deps.table}${filterText(state, site)}`);
  // once for all: a table that another tool filled has one fault in all its rows
  for (const [fault, { first, count }] of faulty)
    console.error(
      `cvm: ${fault}: ${counted(count, 'row')}, such as that of ${first}: ${cureOf(fault, first, deps.table)}`,
    );
}

/** An empty list looks the same whether nothing is there, the name of a site is wrong, or another table was asked. */
function filterText(state: string | undefined, site: string | undefined): string {
  const filters = [
    ...(site === undefined ? [] : [`the site ${site}`]),
    ...(state === undefined ? [] : [`the state ${state}`]),
  ];
  return filters.length === 0 ? ': it is empty' : ` has ${filters.join(' and ')}`;
}
