import { Command, InvalidArgumentError } from 'commander';
import type { Issuer } from '../issuer/issuer.ts';
import { block, reissue, remove, unblock } from '../operator/decisions.ts';
import {
  announce,
  type EnrolContext,
  type EnrolOptions,
  enrolment,
  newToken,
  withoutGateways,
} from '../operator/enrolment.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { makeToken, tokenFault } from '../protocol/token.ts';
import { applyStateOf } from '../registry/apply-state.ts';
import type { Device, DeviceState, Registry } from '../registry/registry.ts';
import { durationMs } from './duration.ts';
import { importDevices } from './import.ts';

export type DevicesContext = EnrolContext & { issuer(): Promise<Issuer> };

const states: readonly DeviceState[] = ['enrolled', 'provisioning', 'registered', 'blocked'];

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
    .option('--state <state>', `only these: ${states.join(', ')}`, stateNamed)
    .option('--json', 'one JSON object a line')
    .action((options: { state?: DeviceState; json?: boolean }) => list(context, options));
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
    .action((serials: string[], options: { expires?: number; json?: boolean }) =>
      reissueDevices(context, serials, options),
    );
  devices
    .command('block <serial...>')
    .description('no certificate for the device, and its certificate INACTIVE at once; safe to repeat')
    .action((serials: string[]) => blockDevices(context, serials));
  devices
    .command('unblock <serial...>')
    .description('undo a block; safe to repeat')
    .action((serials: string[]) => unblockDevices(context, serials));
  devices
    .command('remove <serial...>')
    .description('delete the certificate, the thing and the row; safe to repeat')
    .option('--keep-thing', 'leave the thing in AWS IoT Core: its attributes, groups and shadow')
    .action((serials: string[], options: { keepThing?: boolean }) => removeDevices(context, serials, options));
  return devices;
}

async function add(
  context: DevicesContext,
  serials: readonly string[],
  options: EnrolOptions & { token?: string; json?: boolean },
): Promise<void> {
  const [registry, gateways] = [await context.registry(), await context.gateways()];
  const added: string[] = [];
  for (const serial of serials) {
    const token = options.token ?? makeToken();
    const fault = isSerial(serial) ? tokenFault(token) : serialRule;
    if (fault !== undefined) failed(`${JSON.stringify(serial)}: ${fault}`);
    else if (!(await registry.enrol(enrolment(serial, token, options, { now: context.now(), gateways }))))
      failed(`${serial} is enrolled already; nothing was changed`);
    else {
      added.push(serial);
      context.audit().record('enrolled', { serial });
      context.write(options.json ? JSON.stringify({ serial, token }) : `${serial}  ${token}`);
    }
  }
  await announce(context, added);
  if (added.length > 0 && gateways.length === 0) console.error(withoutGateways);
  if (added.length > 0 && !options.json)
    console.error('Write the tokens down: they are stored nowhere and will not be shown again.');
}

async function list(context: DevicesContext, { state, json }: { state?: DeviceState; json?: boolean }): Promise<void> {
  for await (const device of (await context.registry()).list()) {
    if (state !== undefined && device.state !== state) continue;
    context.write(
      json
        ? JSON.stringify(visible(device))
        : [device.serial.padEnd(32), device.state.padEnd(12), device.certificateId ?? ''].join('  ').trimEnd(),
    );
  }
}

async function show(context: DevicesContext, serial: string, { json }: { json?: boolean }): Promise<void> {
  const device = await (await context.registry()).find(serial);
  if (device === undefined) return failed(`${JSON.stringify(serial)} is not enrolled`);
  if (json) return context.write(JSON.stringify(visible(device)));
  for (const [name, value] of Object.entries(visible(device))) context.write(`${name.padEnd(26)}${value}`);
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
    else if (device.state === 'provisioning' && (device.leaseUntil ?? 0) > context.now())
      failed(`${serial} is being provisioned at this moment; try again in a minute`);
    else await act(device, registry);
  }
}

const changedMeanwhile = (serial: string) => failed(`${serial} changed meanwhile; run the command again`);

async function reissueDevices(
  context: DevicesContext,
  serials: readonly string[],
  { expires, json }: { expires?: number; json?: boolean },
): Promise<void> {
  const gateways = await context.gateways();
  return forEachDevice(context, serials, async (device, registry) => {
    const { serial } = device;
    if (device.removal !== undefined) return failed(`${serial} is being removed`);
    if (device.state === 'blocked') return failed(`${serial} is blocked; unblock it first`);
    const token = makeToken();
    const fresh = newToken(serial, token, gateways, expires === undefined ? undefined : context.now() + expires);
    if ((await reissue(device, fresh, recording('reissued', device, context, registry))) === 'changed')
      return changedMeanwhile(serial);
    await announce(context, [serial]);
    context.write(json ? JSON.stringify({ serial, token }) : `${serial}  ${token}`);
  });
}

function blockDevices(context: DevicesContext, serials: readonly string[]): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    if ((await block(device, recording('blocked', device, context, registry))) === 'changed')
      return changedMeanwhile(device.serial);
    context.write(`${device.serial} blocked`);
  });
}

function unblockDevices(context: DevicesContext, serials: readonly string[]): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    if (device.removal !== undefined) return failed(`${device.serial} is being removed`);
    if ((await unblock(device, recording('unblocked', device, context, registry))) === 'changed')
      return changedMeanwhile(device.serial);
    context.write(`${device.serial} unblocked`);
  });
}

function removeDevices(
  context: DevicesContext,
  serials: readonly string[],
  { keepThing }: { keepThing?: boolean },
): Promise<void> {
  return forEachDevice(context, serials, async (device, registry) => {
    const parts = recording('removed', device, context, registry);
    const removed = await remove(device, keepThing ? 'keep-thing' : 'with-thing', parts);
    if (removed === 'changed') return changedMeanwhile(device.serial);
    await announce(context, [device.serial]);
    context.write(
      removed === 'done'
        ? `${device.serial} removed`
        : `${device.serial} removed, but for its row: that goes with the sweep that has looked for a certificate whose answer was lost`,
    );
  });
}

/** What a decision about a device works with, and its record. */
const recording = (
  event: 'reissued' | 'blocked' | 'unblocked' | 'removed',
  { serial }: Device,
  context: DevicesContext,
  registry: Registry,
) => ({
  registry,
  issuer: () => context.issuer(),
  decided: () => context.audit().record(event, { serial }),
});

/** What of a row is shown: everything but the token's hash and sealed keys, which are nobody's business. */
function visible(device: Device): Record<string, unknown> {
  const { serial, state, certificateId, previousCertificateId, pendingDeletion, createIntents, removal } = device;
  const time = (ms: number | undefined) => (ms === undefined || ms === 0 ? undefined : new Date(ms).toISOString());
  const all = {
    serial,
    state: removal === undefined ? state : 'being-removed',
    applyState: applyStateOf(state),
    certificateId,
    // the one that works until a reissued device has its new one
    previousCertificateId,
    // to be deleted, by the next attempt or the sweeper
    pendingDeletion,
    createCallsWithoutAnswer: createIntents === undefined ? undefined : Object.keys(createIntents).length,
    enrolledAt: time(device.enrolledAt),
    requestedAt: time(device.requestedAt),
    issuedAt: time(device.issuedAt),
    deliveredAt: time(device.deliveredAt),
    tokenExpiresAt: time(device.tokenExpiresAt),
    policyName: device.policyName,
    thingTypeName: device.thingTypeName,
    thingGroupName: device.thingGroupName,
    // where the device can use its token as a TLS pre-shared key
    pskGateways: device.sealedKeys && Object.keys(device.sealedKeys),
    attempts: device.attempt,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function failed(reason: string): void {
  console.error(`cvm: ${reason}`);
  process.exitCode = 1;
}

function stateNamed(name: string): DeviceState {
  const found = states.find((state) => state === name);
  if (found === undefined) throw new InvalidArgumentError(`It is one of ${states.join(', ')}.`);
  return found;
}
