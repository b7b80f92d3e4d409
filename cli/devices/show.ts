import { Command } from 'commander';
import { showDevice } from '../../operator/view.ts';
import { cureOf } from '../../registry/row-faults.ts';
import { oneLine } from '../table.ts';
import { verdictLines } from '../verdict.ts';
import type { DevicesContext } from './context.ts';
import { failRefused } from './print.ts';

export function showCommand(context: DevicesContext): Command {
  return new Command('show')
    .argument('<serial>')
    .description('show one device')
    .option('--json', 'as JSON')
    .action((serial: string, options: { json?: boolean }) => show(context, serial, options));
}

async function show(
  { operator, write, explain, terminal }: DevicesContext,
  serial: string,
  { json }: { json?: boolean },
): Promise<void> {
  const deps = await operator();
  const shown = await showDevice(serial, deps);
  if (shown.outcome !== 'found') return failRefused(serial, shown, json);
  const { fault } = shown.device;
  if (fault !== undefined) console.error(`cvm: ${serial}: ${cureOf(fault, serial, deps.table)}`);
  if (json) return write(JSON.stringify(shown.device));
  for (const [name, value] of Object.entries(shown.device)) write(`${name.padEnd(26)}${oneLine(String(value))}`);
  if (explain === undefined) return;
  const { verdict } = await explain(serial);
  write(`${'verdict'.padEnd(26)}${verdict.title}`);
  for (const line of verdictLines(verdict, terminal?.columns ?? 100)) write(line);
  if (verdict.state === 'problem') write(`all that was seen of it: cvm explain ${serial}`);
}
