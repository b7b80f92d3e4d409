import { Command, InvalidArgumentError } from 'commander';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { hashToken, makeToken, tokenFault } from '../protocol/token.ts';
import type { ApplyState, Device, Registry } from '../registry/registry.ts';
import type { Issuer } from '../worker/issuer.ts';
import { type EnrolContext, type EnrolOptions, enrolment } from './enrolment.ts';
import { importDevices } from './import.ts';

export type DevicesContext = EnrolContext & { issuer(): Promise<Issuer> };

const states: Readonly<Record<ApplyState, string>> = {
  0: 'may-apply',
  1: 'applying',
  [-1]: 'registered',
  [-2]: 'blocked',
};

export function devicesCommand(context: DevicesContext): Command {
  const devices = new Command('devices').description('enrol devices and look after them');
  const enrolling = (command: Command) =>
    command
      .option('--expires <duration>', 'the token ends after so long: 12h, 30d', durationMs)
      .option('--policy <name>', 'IoT policy instead of the shared one')
      .option('--thing-type <name>', 'thing type of the device')
      .option('--thing-group <name>', 'thing group that the device joins');

  enrolling(devices.command('add <serial...>').description('enrol devices; prints each token once'))
    .option('--token <token>', 'a token that the device has already (with one serial)')
    .option('--json', 'one JSON object a line')
    .action((serials: string[], options: EnrolOptions & { token?: string; json?: boolean }, command: Command) => {
      if (options.token !== undefined && serials.length > 1)
        command.error('--token goes with one serial: a token belongs to one device', { exitCode: 2 });
      return add(context, serials, options);
    });
  enrolling(
    devices
      .command('import <file.csv>')
      .description('enrol many: columns serial[,token][,policy][,thing_type][,thing_group], with a header line'),
  )
    .option('--out <file>', 'where tokens that are made go, "-" for standard output (default: <file.csv>.tokens.csv)')
    .option('--json', 'print the summary as JSON')
    .action((file: string, options: EnrolOptions & { out?: string; json?: boolean }) =>
      importDevices(context, file, options).then(() => undefined),
    );
  devices
    .command('list')
    .description('all devices')
    .option('--state <state>', `only these: ${Object.values(states).join(', ')}`, stateNamed)
    .option('--json', 'one JSON object a line')
    .action((options: { state?: ApplyState; json?: boolean }) => list(context, options));
  devices
    .command('show <serial>')
    .description('one device')
    .option('--json', 'as JSON')
    .action((serial: string, options: { json?: boolean }) => show(context, serial, options));
  devices
    .command('reissue <serial...>')
    .description('a new token for a device; its certificate works until the new one goes live. Prints each token once')
    .option('--expires <duration>', 'the token ends after so long: 12h, 30d', durationMs)
    .option('--json', 'one JSON object a line')
    .action((serials: string[], options: { expires?: number; json?: boolean }) => reissue(context, serials, options));
  devices
    .command('block <serial...>')
    .description('no certificate for the device, and its certificate INACTIVE at once; safe to repeat')
    .action((serials: string[]) => block(context, serials));
  devices
    .command('unblock <serial...>')
    .description('undo a block; safe to repeat')
    .action((serials: string[]) => unblock(context, serials));
  devices
    .command('remove <serial...>')
    .description('withdraw the certificate, then delete the row; safe to repeat')
    .action((serials: string[]) => remove(context, serials));
  return devices;
}

async function add(
  context: DevicesContext,
  serials: readonly string[],
  options: EnrolOptions & { token?: string; json?: boolean },
): Promise<void> {
  const registry = await context.registry();
  let added = 0;
  for (const serial of serials) {
    const token = options.token ?? makeToken();
    const fault = isSerial(serial) ? tokenFault(token) : serialRule;
    if (fault !== undefined) failed(`${JSON.stringify(serial)}: ${fault}`);
    else if (!(await registry.enrol(enrolment(serial, token, options, context.now()))))
      failed(`${serial} is enrolled already; nothing was changed`);
    else {
      added++;
      context.write(options.json ? JSON.stringify({ serial, token }) : `${serial}  ${token}`);
    }
  }
  if (added > 0 && !options.json)
    console.error('Write the tokens down: they are stored nowhere and will not be shown again.');
}

async function list(context: DevicesContext, { state, json }: { state?: ApplyState; json?: boolean }): Promise<void> {
  for await (const device of (await context.registry()).list()) {
    if (state !== undefined && device.applyState !== state) continue;
    context.write(
      json
        ? JSON.stringify(visible(device))
        : [device.serial.padEnd(32), states[device.applyState].padEnd(11), device.certificateId ?? '']
            .join('  ')
            .trimEnd(),
    );
  }
}

async function show(context: DevicesContext, serial: string, { json }: { json?: boolean }): Promise<void> {
  const device = await (await context.registry()).find(serial);
  if (device === undefined) return failed(`${JSON.stringify(serial)} is not enrolled`);
  if (json) return context.write(JSON.stringify(visible(device)));
  for (const [name, value] of Object.entries(visible(device))) context.write(`${name.padEnd(16)}${value}`);
}

/** Calls `act` for each serial that is enrolled and not being provisioned at this moment. */
async function forEachDevice(
  context: DevicesContext,
  serials: readonly string[],
  act: (device: Device, registry: Registry) => Promise<void>,
): Promise<void> {
  const registry = await context.registry();
  for (const serial of serials) {
    const device = await registry.find(serial);
    if (device === undefined) failed(`${JSON.stringify(serial)} is not enrolled`);
    else if (device.applyState === 1 && (device.leaseUntil ?? 0) > context.now())
      failed(`${serial} is being provisioned at this moment; try again in a minute`);
    else await act(device, registry);
  }
}

const changedMeanwhile = (serial: string) => failed(`${serial} changed meanwhile; run the command again`);

function reissue(
  context: DevicesContext,
  serials: readonly string[],
  { expires, json }: { expires?: number; json?: boolean },
): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    if (device.applyState === -2) return failed(`${device.serial} is blocked; unblock it first`);
    const token = makeToken();
    const { serial } = device;
    if (
      !(await registry.reissue(device, hashToken(token), expires === undefined ? undefined : context.now() + expires))
    )
      return changedMeanwhile(serial);
    context.write(json ? JSON.stringify({ serial, token }) : `${serial}  ${token}`);
  });
}

/** The table first: from then on no attempt can finish. Then the certificate, also when the table said so already. */
function block(context: DevicesContext, serials: readonly string[]): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    if (device.applyState !== -2 && !(await registry.block(device))) return changedMeanwhile(device.serial);
    for (const id of certificatesOf(device)) await (await context.issuer()).deactivate(id);
    context.write(`${device.serial} blocked`);
  });
}

function unblock(context: DevicesContext, serials: readonly string[]): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    if (device.applyState === -2 && !(await registry.unblock(device))) return changedMeanwhile(device.serial);
    // one that never went live is activated by the cycle, when it is attached; one that is being replaced still works
    const live = device.issuedAt === undefined ? device.previousCertificateId : device.certificateId;
    if (live !== undefined) await (await context.issuer()).activate(live);
    context.write(`${device.serial} unblocked`);
  });
}

function remove(context: DevicesContext, serials: readonly string[]): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    const ids = certificatesOf(device);
    for (const id of ids) await (await context.issuer()).withdraw(id);
    if (!(await registry.remove(device))) return changedMeanwhile(device.serial);
    context.write(`${device.serial} removed${ids.map((id) => `, certificate ${id} deleted`).join('')}`);
  });
}

function certificatesOf(device: Device): string[] {
  return [device.certificateId, device.previousCertificateId].filter((id) => id !== undefined);
}

/** What of a row is shown: everything but the token's hash, which is nobody's business. */
function visible(device: Device): Record<string, unknown> {
  const {
    serial,
    applyState,
    certificateId,
    enrolledAt,
    requestedAt,
    tokenExpiresAt,
    policyName,
    thingTypeName,
    thingGroupName,
    attempt,
  } = device;
  const time = (ms: number | undefined) => (ms === undefined || ms === 0 ? undefined : new Date(ms).toISOString());
  const all = {
    serial,
    state: states[applyState],
    applyState,
    certificateId,
    enrolledAt: time(enrolledAt),
    requestedAt: time(requestedAt),
    tokenExpiresAt: time(tokenExpiresAt),
    policyName,
    thingTypeName,
    thingGroupName,
    attempts: attempt,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function failed(reason: string): void {
  console.error(`cvm: ${reason}`);
  process.exitCode = 1;
}

function stateNamed(name: string): ApplyState {
  const found = Object.entries(states).find(([, state]) => state === name);
  if (found === undefined) throw new InvalidArgumentError(`It is one of ${Object.values(states).join(', ')}.`);
  return Number(found[0]) as ApplyState;
}

const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

function durationMs(text: string): number {
  const match = /^(\d+)([mhd])$/.exec(text);
  const unit = unitMs[match?.[2] ?? ''];
  if (match === null || unit === undefined)
    throw new InvalidArgumentError('Write a number and a unit: 30m, 12h or 30d.');
  return Number(match[1]) * unit;
}
