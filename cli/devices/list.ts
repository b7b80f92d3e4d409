import { Command, Option } from 'commander';
import { listDevices } from '../../operator/view.ts';
import type { DeviceState } from '../../registry/device.ts';
import type { DevicesContext } from './context.ts';

const states: readonly DeviceState[] = ['enrolled', 'provisioning', 'registered', 'blocked'];

type Options = { state?: DeviceState; json?: boolean };

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
