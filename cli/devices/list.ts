import { Command, Option } from 'commander';
import { type DeviceView, listDevices } from '../../operator/view.ts';
import type { DevicesContext } from './context.ts';

const states: readonly DeviceView['state'][] = ['enrolled', 'provisioning', 'registered', 'blocked', 'being-removed'];

type Options = { state?: DeviceView['state']; json?: boolean };

export function listCommand(context: DevicesContext): Command {
  return new Command('list')
    .description('list all devices')
    .addOption(new Option('--state <state>', 'only devices in this state').choices(states))
    .option('--json', 'one JSON object a line')
    .action((options: Options) => list(context, options));
}

async function list({ operator, write }: DevicesContext, { state, json }: Options): Promise<void> {
  for await (const device of listDevices({ state }, operator()))
    write(
      json
        ? JSON.stringify(device)
        : `${device.serial.padEnd(32)}  ${device.state.padEnd(13)}  ${device.certificateId ?? ''}`.trimEnd(),
    );
}
