import { Command } from 'commander';
import { addCommand } from './devices/add.ts';
import { blockCommand, unblockCommand } from './devices/block.ts';
import type { DevicesContext } from './devices/context.ts';
import { exportCommand } from './devices/export.ts';
import { importCommand } from './devices/import.ts';
import { listCommand } from './devices/list.ts';
import { moveCommand } from './devices/move.ts';
import { reissueCommand } from './devices/reissue.ts';
import { removeCommand } from './devices/remove.ts';
import { showCommand } from './devices/show.ts';

/** The table of the commands below `cvm devices`, in the order of its help. */
const commands = [
  addCommand,
  importCommand,
  exportCommand,
  listCommand,
  showCommand,
  reissueCommand,
  moveCommand,
  blockCommand,
  unblockCommand,
  removeCommand,
];

export function devicesCommand(context: DevicesContext): Command {
  const devices = new Command('devices');
  for (const command of commands) devices.addCommand(command(context));
  return devices;
}
