import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import type { Credential } from '../../gateway-sim/device.ts';
import { type EnrolDeps, enrol } from '../../operator/enrol.ts';
import { UsageError } from '../usage-error.ts';

/** @throws when a device cannot be enrolled */
export async function enrolAll(serials: readonly string[], deps: EnrolDeps): Promise<Credential[]> {
  const requests = serials.map((serial) => ({ serial }));
  const { outcomes } = await enrol(requests, deps);
  return outcomes.map((outcome) => {
    if (outcome.outcome === 'enrolled') return { serial: outcome.serial, token: outcome.token };
    const reason = outcome.outcome === 'exists' ? 'it is enrolled already' : outcome.reason;
    throw new Error(`${JSON.stringify(outcome.serial)} cannot be enrolled: ${reason}`);
  });
}

/** @throws UsageError */
export async function readCredentials(file: string): Promise<Credential[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${file} cannot be read (${error.code})`);
  });
  const rows = parse(text, { columns: true, bom: true, trim: true, skip_empty_lines: true }) as Partial<Credential>[];
  if (rows.length === 0) throw new UsageError(`${file} has no device`);
  const serials = new Set<string>();
  return rows.map(({ serial, token }) => {
    if (!serial || !token)
      throw new UsageError(`${file}: every row needs a serial and a token, and the first line must be "serial,token"`);
    // it would count as two devices, which take each other's connection and get one certificate
    if (serials.has(serial)) throw new UsageError(`${file}: the serial ${JSON.stringify(serial)} is in two rows`);
    serials.add(serial);
    return { serial, token };
  });
}

/** @returns a certificate in PEM @throws UsageError */
export async function readCa(file: string, cure = ''): Promise<string> {
  const pem = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`the CA file ${file} cannot be read (${error.code})${cure}`);
  });
  try {
    new X509Certificate(pem);
    return pem;
  } catch {
    throw new UsageError(`the CA file ${file} has no certificate in PEM`);
  }
}
