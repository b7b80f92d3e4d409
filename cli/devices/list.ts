import { Command, Option } from 'commander';
import { type DeviceView, listDevices } from '../../operator/view.ts';
import { cureOf, type RowFault } from '../../registry/row-faults.ts';
import { counted } from '../../runtime/counted.ts';
import { siteName } from '../site-name.ts';
import { type Colour, type Column, plainRow, tableLines } from '../table.ts';
import type { DevicesContext } from './context.ts';
import { listSilent } from './silent.ts';

const states: readonly DeviceView['state'][] = [
  'enrolled',
  'provisioning',
  'registered',
  'blocked',
  'unknown',
  'being-removed',
];

/** What a list is sorted by, and whether the latest comes first. */
const orders = {
  serial: { of: ({ serial }: DeviceView) => serial, latestFirst: false },
  state: { of: ({ state, serial }: DeviceView) => `${state} ${serial}`, latestFirst: false },
  site: { of: ({ site = '', serial }: DeviceView) => `${site} ${serial}`, latestFirst: false },
  enrolled: { of: ({ enrolledAt = '' }: DeviceView) => enrolledAt, latestFirst: true },
  requested: { of: ({ requestedAt = '' }: DeviceView) => requestedAt, latestFirst: true },
} as const;
type Order = keyof typeof orders;

type Options = { state?: DeviceView['state']; site?: string; sort?: Order; silent?: boolean; json?: boolean };

export function listCommand(context: DevicesContext): Command {
  return new Command('list')
    .description('list all devices')
    .addOption(new Option('--state <state>', 'only devices in this state').choices(states))
    .option('--site <name>', 'only devices of this site', siteName)
    .addOption(
      new Option(
        '--sort <field>',
        'enrolled and requested: the latest first (default: serial at a terminal; elsewhere as they come, so that a list of any length takes no memory)',
      ).choices(Object.keys(orders)),
    )
    .addOption(
      new Option(
        '--silent',
        'only devices that have a certificate and never connected to AWS IoT Core with it, those that are silent for longest first',
      ).conflicts(['state', 'sort']),
    )
    .option('--json', 'one JSON object a line')
    .action((options: Options) => (options.silent ? listSilent(context, options) : list(context, options)));
}

type Listed = { readonly device: DeviceView; readonly key: string };

async function list({ operator, write, terminal }: DevicesContext, options: Options): Promise<void> {
  const { state, site, json, sort = terminal === undefined ? undefined : 'serial' } = options;
  const deps = await operator();
  const faults = countFaults();
  const counts = new Map<DeviceView['state'], number>();
  const writeOne = (device: DeviceView) => write(json ? JSON.stringify(device) : plainRow(plainCells(device), widths));
  const kept: Listed[] = [];
  for await (const device of listDevices({ state, site }, deps)) {
    counts.set(device.state, (counts.get(device.state) ?? 0) + 1);
    faults.add(device);
    if (sort === undefined) writeOne(device);
    else kept.push({ device, key: orders[sort].of(device) });
  }
  const sorted = inOrder(kept, sort);
  const asTable = terminal !== undefined && !json && sorted.length > 0;
  if (asTable) for (const line of tableLines(columns, sorted.map(cellsOf), terminal)) write(line);
  else sorted.forEach(writeOne);
  if (counts.size === 0) console.error(`cvm: no device of the table ${deps.table}${filterText(state, site)}`);
  else if (asTable) console.error(countText(counts));
  faults.say(deps.table);
}

function inOrder(kept: Listed[], sort: Order | undefined): DeviceView[] {
  kept.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  if (sort !== undefined && orders[sort].latestFirst) kept.reverse();
  return kept.map(({ device }) => device);
}

const colours: Partial<Record<string, Colour>> = {
  registered: 'green',
  provisioning: 'yellow',
  blocked: 'red',
  unknown: 'red',
  'being-removed': 'yellow',
};

const columns: readonly Column[] = [
  { title: 'SERIAL', cut: true },
  { title: 'STATE', colour: (state) => colours[state] },
  { title: 'CERTIFICATE', cut: true },
  { title: 'SITE', cut: true },
  { title: 'FAULT', cut: true, colour: () => 'red' },
];

/** As a program reads it: the widths do not depend on the rows, of which there may be a million. */
const widths = [32, 13];

const cellsOf = ({ serial, state, certificateId = '', site, fault }: DeviceView): string[] => [
  serial,
  state,
  certificateId,
  site ?? '',
  fault ?? '',
];

function plainCells({ serial, state, certificateId = '', site, fault }: DeviceView): string[] {
  const ofSite = site === undefined ? [] : [`site ${site}`];
  return [serial, state, certificateId, ...ofSite, ...(fault === undefined ? [] : [fault])];
}

function countText(counts: ReadonlyMap<string, number>): string {
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const parts = [...counts].sort(([, a], [, b]) => b - a).map(([state, count]) => `${count} ${state}`);
  return `${counted(all, 'device')}: ${parts.join(', ')}`;
}

/** Says each fault once for all its rows: a table that another tool filled has one fault in all of them. */
function countFaults() {
  const faulty = new Map<RowFault, { first: string; count: number }>();
  return {
    add({ serial, fault }: DeviceView): void {
      if (fault === undefined) return;
      const { first = serial, count = 0 } = faulty.get(fault) ?? {};
      faulty.set(fault, { first, count: count + 1 });
    },
    say(table: string): void {
      for (const [fault, { first, count }] of faulty)
        console.error(
          `cvm: ${fault}: ${counted(count, 'row')}, such as that of ${first}: ${cureOf(fault, first, table)}`,
        );
    },
  };
}

/** An empty list looks the same whether nothing is there, the name of a site is wrong, or another table was asked. */
function filterText(state: string | undefined, site: string | undefined): string {
  const filters = [
    ...(site === undefined ? [] : [`the site ${site}`]),
    ...(state === undefined ? [] : [`the state ${state}`]),
  ];
  return filters.length === 0 ? ': it is empty' : ` has ${filters.join(' and ')}`;
}
