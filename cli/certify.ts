import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Case } from '../certify/case.ts';
import { cases } from '../certify/cases/cases.ts';
import { certify } from '../certify/certify.ts';
import { wordsOf } from '../certify/observation.ts';
import { type About, renderSheet } from '../certify/page.ts';
import type { CaseResult, CertifyGateway } from '../certify/run-case.ts';
import { isConformant, outcomeWords, type Sheet, sheetText } from '../certify/sheet.ts';
import { tokenFault } from '../operator/token-strength.ts';
import { derivePsk } from '../protocol/psk.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { makeToken } from '../protocol/token.ts';
import { isThere } from '../runtime/is-there.ts';
import type { Settings } from '../runtime/settings.ts';
import { givenToken } from './devices/given-token.ts';
import { checkWritable, untilInterrupted } from './long-run.ts';
import { portNumber, wholeNumber } from './numbers.ts';
import { UsageError } from './usage-error.ts';

export type CertifyContext = {
  /** of the program of the device */
  readonly environment: NodeJS.ProcessEnv;
  settings(): Promise<Settings>;
  write(line: string): void;
};

type Options = {
  case?: string[];
  serial: string;
  tokenFile?: string;
  host?: string;
  port?: number;
  deviceCommand?: string;
  jobs: number;
  timeout: number;
  template: string;
  templateFile?: string;
  claim?: boolean;
  firmware?: string;
  json?: boolean;
  html?: string;
};

/** Somebody who starts a device by hand may take so long, in milliseconds. */
const firstConnectionMs = 600_000;

const help = `
It starts a gateway of its own on the local AWS stand-in, in the folder certify of the data folder: neither another gateway nor AWS is asked. By
hand it waits for Enter before each case, prints what the firmware needs, and listens on CVM_LISTEN; CVM_HOSTNAMES must name --host. With --device-command
the program runs until the case is over; it ends with 0 when it has its certificate, and is started again after any other status.

Exit status: 0 conformant, 1 not (or a case could not be played), 2 wrong use. The sheet goes to standard output, progress to standard error. All cases and
rules: docs/certify.md.`;

export function certifyCommand(context: CertifyContext): Command {
  return new Command('certify')
    .option('--case <name>', 'play this case only; may be given several times (see "cvm certify cases")', collect)
    .option('--serial <serial>', 'serial of the test device', 'certify-1')
    .option(
      '--token-file <file>',
      'a token that the firmware has already: the one line of this file (default: one is made at the first run, and kept)',
    )
    .option(
      '--host <name>',
      'name or address by which the device reaches this machine (default: its host name, or localhost with --device-command)',
    )
    .option('--port <n>', 'port for the device (default: CVM_MQTT_PORT)', portNumber)
    .option(
      '--device-command <command>',
      'program of the device, run by sh for each case with CVM_HOST, CVM_PORT, CVM_CA, CVM_SERIAL, CVM_TOKEN, CVM_PSK, CVM_TIME_KEY, CVM_TEMPLATE and CVM_STATE (with --claim CVM_CLAIM_CERT and CVM_CLAIM_KEY) in its environment',
    )
    .option(
      '--jobs <n>',
      'with --device-command: cases at a time, each with a port and a serial of its own',
      jobsNumber,
      1,
    )
    .option(
      '--template <name>',
      'provisioning template of a device that speaks Fleet Provisioning',
      templateName,
      'certify',
    )
    .option('--template-file <file>', 'its body (default: the smallest, with the parameter SerialNumber)')
    .option('--claim', 'the device shows a claim certificate, and no token (Fleet Provisioning only)')
    .option('--timeout <seconds>', 'for each case', wholeNumber, 120)
    .option('--firmware <text>', 'name and version of the firmware, for the page')
    .addOption(new Option('--json', 'print the sheet as JSON'))
    .option('--html <file>', 'write the sheet as a page, to attach to a release')
    .addHelpText('after', help)
    .addCommand(new Command('cases').description('list the cases').action(() => listCases(context)))
    .action((options: Options, command: Command) => run(context, options, command.parent?.version() ?? ''));
}

const collect = (name: string, before: string[] = []): string[] => [...before, name];

function jobsNumber(text: string): number {
  const jobs = wholeNumber(text);
  if (jobs < 1 || jobs > 32) throw new InvalidArgumentError('It must be a number from 1 to 32.');
  return jobs;
}

/** As AWS takes it. */
function templateName(text: string): string {
  if (!/^[0-9A-Za-z_-]{1,36}$/.test(text))
    throw new InvalidArgumentError('It has 1 to 36 of the characters A-Z a-z 0-9 _ -.');
  return text;
}

function listCases({ write }: CertifyContext): void {
  for (const { name, plays, wants } of cases) write(`${name}\n  gateway  ${plays}\n  device   ${wants}`);
}

async function run(context: CertifyContext, options: Options, version: string): Promise<void> {
  const chosen = chooseCases(options.case);
  checkOptions(options);
  const { createApp } = await import('../app/app.ts');
  const { createLog } = await import('../runtime/log.ts');
  const { logToFile } = await import('../runtime/log-destination.ts');
  const { certifySettings, startCertifyGateway, writeTemplate } = await import('./certify/gateway.ts');
  const { requireRedisServer } = await import('./services/up.ts');
  const settings = await context.settings();
  const own = certifySettings(settings);
  requireRedisServer(own);
  mkdirSync(own.dataDir, { recursive: true, mode: 0o700 });
  const token = tokenOf(options, own.dataDir);
  writeTemplate(own, options.template, options.templateFile);
  const app = createApp(own, createLog(own.logLevel, logToFile(join(own.dataDir, 'gateway.log'))));
  const interruption = untilInterrupted();
  const startedAt = new Date().toISOString();
  try {
    const gateway = await startCertifyGateway(app, options.template);
    const { deviceCommand: command, serial } = options;
    const device = { serial, token: token.text };
    const host = options.host ?? (command === undefined ? hostname() : 'localhost');
    const place = { host, port: options.port ?? settings.mqttPort, listen: settings.listen };
    warnOfName(host, gateway);
    if (command === undefined)
      sayHowTo({ ...place, ...device, gateway, tokenFile: token.file, claim: options.claim ?? false });
    const sheet = await certify({
      gateway,
      ...{ device, ...place, command, environment: context.environment },
      cases: chosen,
      folder: join(own.dataDir, 'devices'),
      jobs: options.jobs,
      withClaim: options.claim ?? false,
      timeoutMs: options.timeout * 1000,
      firstConnectionMs,
      signal: interruption.signal,
      ...progress(chosen.length, options, interruption.signal),
    });
    report(sheet, { ...options, startedAt, version, write: context.write });
  } finally {
    interruption.end();
    await app.lifecycle.close();
  }
  if (interruption.status() !== 0) process.exitCode = interruption.status();
}

function chooseCases(names: readonly string[] = []): readonly Case[] {
  const unknown = names.filter((name) => !cases.some((each) => each.name === name));
  if (unknown.length > 0)
    throw new UsageError(
      `there is no case ${unknown.join(', ')}; there are ${cases.map(({ name }) => name).join(', ')}`,
    );
  return names.length === 0 ? cases : cases.filter(({ name }) => names.includes(name));
}

function checkOptions({ serial, jobs, deviceCommand, html, templateFile }: Options): void {
  if (templateFile !== undefined && !isThere(templateFile))
    throw new UsageError(`--template-file: there is no file ${templateFile}`);
  if (!isSerial(serial)) throw new UsageError(`--serial: ${serialRule}`);
  if (jobs > 1 && deviceCommand === undefined)
    throw new UsageError(
      '--jobs goes with --device-command: a device that is started by hand plays one case at a time',
    );
  if (html !== undefined) checkWritable(html);
}

/**
 * The token of the test device, the same in all runs, so that firmware with a fixed token needs no rebuild. It opens nothing but the stand-in
 * of this folder.
 */
function tokenOf({ serial, tokenFile }: Options, dataDir: string): { readonly text: string; readonly file: string } {
  const given = givenToken(tokenFile === undefined ? {} : { tokenFile }, [serial]);
  if (given !== undefined) {
    const fault = tokenFault(given, { serial });
    if (fault !== undefined) throw new UsageError(`--token-file: ${fault}`);
    return { text: given, file: tokenFile ?? '' };
  }
  const file = join(dataDir, 'device.token');
  if (!isThere(file)) writeFileSync(file, `${makeToken()}\n`, { mode: 0o600 });
  return { text: readFileSync(file, 'utf8').trim(), file };
}

/** A device that checks names would refuse every case. */
function warnOfName(host: string, { certificates }: CertifyGateway): void {
  const certificate = new X509Certificate(certificates.right.cert);
  if ((isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined) return;
  console.error(
    `cvm: the certificate of the gateway has not the ${isIP(host) === 0 ? 'name' : 'address'} ${host}: set CVM_HOSTNAMES=${host}`,
  );
}

type HowTo = {
  readonly host: string;
  readonly port: number;
  readonly serial: string;
  readonly token: string;
  readonly tokenFile: string;
  readonly gateway: CertifyGateway;
  readonly claim: boolean;
};

function sayHowTo({ host, port, serial, token, tokenFile, gateway, claim }: HowTo): void {
  console.error(`Build the firmware with this, once for all cases:

  host      ${host}, port ${port}
  CA file   ${shown(gateway.caFile)}
  serial    ${serial}
  token     ${token}
            (also in ${shown(tokenFile)}; it is good for this test only)
  PSK       ${derivePsk(serial, token).toString('hex')}
            (identity ${serial}; in the place of CA file and token)
  time key  ${gateway.timeKey}
            (only for a device without a clock, which asks for the time first)
  template  ${gateway.template}
            (only for a device that speaks Fleet Provisioning)
${claim ? claimText(gateway.claim) : ''}
Before each case, erase the credentials of the device: its certificate and its key.
`);
}

const claimText = ({ certFile, keyFile }: CertifyGateway['claim']): string =>
  `  claim     ${shown(certFile)}, its key in ${shown(keyFile)}\n            (in the place of the token)\n`;

const shown = (path: string): string => {
  const near = relative(process.cwd(), path);
  return near.startsWith('..') ? path : near;
};

/** A device that still runs with the credentials of the case before would be taken for the next one. */
async function untilReady(signal: AbortSignal): Promise<void> {
  if (!process.stdin.isTTY) return;
  console.error('        Erase the device, press Enter, and start it.');
  const lines = createInterface({ input: process.stdin, terminal: false });
  try {
    await once(lines, 'line', { signal });
  } catch {
    // interrupted, or the terminal is gone: the run tells
  } finally {
    lines.close();
  }
}

/** On standard error: what is played, and, one case at a time, what the device does in it. */
function progress(total: number, { jobs, deviceCommand }: Options, signal: AbortSignal) {
  const place = (number: number) => `[${String(number).padStart(2)}/${total}]`;
  return {
    async onCase({ name, plays }: Case, number: number) {
      if (jobs === 1) console.error(`${place(number)} ${name}: the gateway ${plays}`);
      if (deviceCommand === undefined) await untilReady(signal);
    },
    ...(jobs === 1
      ? {
          onSeen(seen: Parameters<typeof wordsOf>[0]) {
            const words = wordsOf(seen);
            if (words !== undefined) console.error(`        ${(seen.at / 1000).toFixed(1)} s  ${words}`);
          },
        }
      : {}),
    onResult({ name, outcome, seconds, findings }: CaseResult, number: number) {
      const why = findings.map(({ rule }) => rule).join(', ');
      console.error(`${place(number)} ${name}: ${outcomeWords[outcome]}${why === '' ? '' : ` (${why})`}, ${seconds} s`);
    },
  };
}

function report(
  sheet: Sheet,
  { json, html, firmware, startedAt, version, write }: Options & About & Pick<CertifyContext, 'write'>,
): void {
  const conformant = isConformant(sheet);
  if (html !== undefined) writeFileSync(html, renderSheet(sheet, { firmware, startedAt, version }));
  if (json) write(JSON.stringify({ conformant, ...(firmware === undefined ? {} : { firmware }), startedAt, ...sheet }));
  else write(`\n${sheetText(sheet)}`);
  if (!conformant) process.exitCode = 1;
}
