import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { addClaim, faultsOfClaim, revokeClaim } from '../operator/claims.ts';
import type { ClaimCertificate, ClaimCertificates } from '../registry/claim-certificates.ts';
import type { Settings } from '../runtime/settings.ts';
import { signClaim } from '../site-tls/certificates.ts';
import { tlsFilesIn } from '../site-tls/material.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { templateNamePattern } from '../templates/template.ts';
import { CommandFailed } from './complaint.ts';
import { withKnownFolder } from './data-folder.ts';
import { lifetimeMs } from './duration.ts';
import { wholeNumber } from './numbers.ts';
import { type Colour, type Column, type Terminal, tableLines } from './table.ts';
import { UsageError } from './usage-error.ts';

export type ClaimsContext = {
  settings(): Promise<Settings>;
  table(): Promise<{ readonly claims: ClaimCertificates }>;
  audit(): Promise<Audit>;
  write(line: string): void;
  readonly terminal?: Terminal | undefined;
  clock(): Promise<() => number>;
};

type Options = {
  template: string;
  serials: string;
  most: number;
  perHour: number;
  expires: number;
  certificate?: string;
  out: string;
  json?: boolean;
};

export function claimsCommand(context: ClaimsContext): Command {
  const claims = new Command('claims');
  claims
    .command('create')
    .argument('<group>', 'the group of devices that it stands for: those enrolled with --claim-group <group>')
    .description('make a claim certificate, which a group of devices shares, and write it and its key to files')
    .requiredOption('--template <name>', 'the one provisioning template that it may be used with')
    .requiredOption('--serials <pattern>', 'serials that it may be used for: * stands for any characters, ? for one')
    .requiredOption('--most <n>', 'devices that it may serve in all', wholeNumber)
    .requiredOption('--expires <duration>', 'lifetime: 12h, 30d', lifetimeMs)
    .option('--per-hour <n>', 'certificates that it may ask for in an hour, also in vain', wholeNumber, 100)
    .option(
      '--certificate <file>',
      'a certificate that you have made, signed by the CA of CVM_CLAIMS_CA or the site CA',
    )
    .option('--out <folder>', 'where the files go', '.')
    .option('--json', 'as JSON')
    .action((group: string, options: Options) => create(context, group, options));
  claims
    .command('list')
    .description('list the claim certificates: what each may be used for, and how many devices it has served')
    .option('--json', 'one JSON object a line')
    .action(async ({ json }: { json?: boolean }) => {
      const [claims, now] = [await (await context.table()).claims.list(), (await context.clock())()];
      if (json) for (const claim of claims) context.write(JSON.stringify(shown(claim, now)));
      else for (const line of linesOf(claims, now, context.terminal)) context.write(line);
    });
  claims
    .command('revoke')
    .argument('<id...>', 'ids, or their first characters (8 at least)')
    .description(
      'refuse these claim certificates from now on, at every gateway; devices that have their certificate keep it',
    )
    .option('--json', 'one JSON object a line')
    .action((ids: string[], { json }: { json?: boolean }) => revoke(context, ids, json));
  return claims;
}

async function create(context: ClaimsContext, group: string, options: Options): Promise<void> {
  const { template: templateName, serials, most, perHour: mostAnHour, out, json } = options;
  const faults = [
    ...faultsOfClaim({ group, serials }),
    ...(templateNamePattern.test(templateName) ? [] : [`${JSON.stringify(templateName)} is no name of a template`]),
  ];
  if (faults.length > 0) throw new UsageError(faults.join('; '));
  const clock = await context.clock();
  const now = clock();
  const wanted = { group, endsAt: now + options.expires };
  const { certificate, key } =
    options.certificate === undefined
      ? await signOne(context, wanted, now)
      : { certificate: readOne(options.certificate), key: undefined };
  const endsAt = Math.min(wanted.endsAt, Date.parse(certificate.validTo));
  if (endsAt <= now) throw new UsageError(`${options.certificate} has ended already, on ${certificate.validTo}`);
  const id = createHash('sha256').update(certificate.raw).digest('hex');
  // first the files, then the table: a claim certificate whose key was not written could not be used
  const files = key === undefined ? undefined : writeOne(out, `${group}-${id.slice(0, 8)}`, certificate, key);
  const limits = { templateName, serials, most, mostAnHour, endsAt };
  const deps = { claims: (await context.table()).claims, audit: await context.audit(), now: clock };
  const { outcome } = await addClaim({ id, group, ...limits }, deps);
  if (outcome === 'exists')
    throw new CommandFailed('this claim certificate is in the table already', 'cvm claims list shows it');
  context.write(json ? JSON.stringify({ id, group, ...files }) : id);
  if (files !== undefined && !json)
    console.error(
      `Written to ${files.certificateFile} and ${files.keyFile}. Who has both may be any device of the group that has no certificate yet: docs/security.md`,
    );
}

async function signOne(context: ClaimsContext, wanted: { group: string; endsAt: number }, now: number) {
  const { dataDir, claims, tlsKeyType } = await withKnownFolder(context.settings)();
  if (claims.caFile !== undefined)
    throw new UsageError(
      'CVM_CLAIMS_CA is a CA of your own: sign the claim certificate with it, and name it by --certificate',
    );
  const files = tlsFilesIn(dataDir, tlsKeyType === 'rsa' ? 'rsa' : 'ec');
  const { cert, key } = await signClaim(files, wanted, new Date(now));
  return { certificate: new X509Certificate(cert), key };
}

function readOne(file: string): X509Certificate {
  try {
    return new X509Certificate(readFileSync(file));
  } catch (error) {
    throw new UsageError(`${file} is no certificate: ${(error as Error).message}`);
  }
}

function writeOne(folder: string, name: string, certificate: X509Certificate, key: string) {
  const [certificateFile, keyFile] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  writeFileSync(keyFile, key, { mode: 0o600, flag: 'wx' });
  writeFileSync(certificateFile, certificate.toString(), { flag: 'wx' });
  return { certificateFile, keyFile };
}

async function revoke(context: ClaimsContext, ids: readonly string[], json = false): Promise<void> {
  const { claims } = await context.table();
  const known = await claims.list();
  // all of them first: a slip in one must not leave the others half done
  const chosen = ids.map((text) => {
    const found = /^[0-9a-f]{8,64}$/.test(text) ? known.filter(({ id }) => id.startsWith(text)) : [];
    if (found.length !== 1)
      throw new CommandFailed(
        `${text} is the id of ${found.length} claim certificates; none was revoked`,
        'cvm claims list shows the ids',
      );
    return found[0] as ClaimCertificate;
  });
  for (const { id, group } of chosen) {
    await revokeClaim(id, { claims, audit: await context.audit(), now: await context.clock() });
    context.write(json ? JSON.stringify({ revoked: id, group }) : `${id}  ${group}  revoked`);
  }
}

const stateOf = ({ revokedAt, endsAt, served, most }: ClaimCertificate, now: number): string =>
  revokedAt !== undefined ? 'revoked' : endsAt <= now ? 'ended' : served >= most ? 'used-up' : 'in-force';

const shown = ({ revokedAt, createdAt, endsAt, ...claim }: ClaimCertificate, now: number) => ({
  ...claim,
  state: stateOf({ ...claim, createdAt, endsAt, ...(revokedAt === undefined ? {} : { revokedAt }) }, now),
  createdAt: new Date(createdAt).toISOString(),
  endsAt: new Date(endsAt).toISOString(),
  ...(revokedAt === undefined ? {} : { revokedAt: new Date(revokedAt).toISOString() }),
});

const stateColours: Partial<Record<string, Colour>> = { 'in-force': 'green', revoked: 'red', 'used-up': 'yellow' };

const columns: readonly Column[] = [
  { title: 'ID', cut: true },
  { title: 'GROUP' },
  { title: 'STATE', colour: (state) => stateColours[state] },
  { title: 'SERVED' },
  { title: 'TEMPLATE', cut: true },
  { title: 'SERIALS', cut: true },
  { title: 'UNTIL' },
];

function linesOf(claims: readonly ClaimCertificate[], now: number, terminal: Terminal | undefined): string[] {
  const rows = claims.map((claim) => {
    const { id, group, templateName, serials, served, most, endsAt } = claim;
    const end = new Date(endsAt).toISOString().slice(0, 10);
    return [id, group, stateOf(claim, now), `${served} of ${most}`, templateName, serials, end] as const;
  });
  if (terminal !== undefined && rows.length > 0) return tableLines(columns, rows, terminal);
  return rows.map(
    ([id, group, state, served, template, serials, end]) =>
      `${id}  ${group}  ${state}  ${served}  template ${template}  serials ${serials}  until ${end}`,
  );
}
