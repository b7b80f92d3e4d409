import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NewClaim } from '../../operator/claims.ts';
import { addClaim } from '../../operator/claims.ts';
import { makeCa, signClaim } from '../../site-tls/certificates.ts';
import { tlsFilesIn } from '../../site-tls/material.ts';
import type { Gateway } from './gateway.ts';

/** A claim certificate with its key, both in PEM. */
export type Claim = { readonly id: string; readonly cert: string; readonly key: string };

const idOf = (cert: string) => createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');
const day = 86_400_000;

/** One that the site CA has signed. The table does not know it. */
export async function signedBySiteCa({ dataDir }: Pick<Gateway, 'dataDir'>, endsAt = Date.now() + day): Promise<Claim> {
  const signed = await signClaim(tlsFilesIn(dataDir), { group: 'pumps', endsAt }, new Date());
  return { ...signed, id: idOf(signed.cert) };
}

/** One that a CA of somebody else has signed, with the same names. */
export async function signedByOther(): Promise<Claim> {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-other-ca-'));
  const [caCert, caKey] = [join(folder, 'ca.crt'), join(folder, 'ca.key')];
  await makeCa('ec', caCert, caKey, new Date());
  const signed = await signClaim({ caCert, caKey }, { group: 'pumps', endsAt: Date.now() + day }, new Date());
  rmSync(folder, { recursive: true });
  return { ...signed, id: idOf(signed.cert) };
}

/** As `cvm claims create` does. */
export async function makeClaim(gateway: Gateway, limits: Partial<NewClaim> = {}): Promise<Claim> {
  const claim = await signedBySiteCa(gateway);
  await tellTable(gateway, claim, limits);
  return claim;
}

export async function tellTable(gateway: Gateway, { id }: Claim, limits: Partial<NewClaim> = {}): Promise<void> {
  const usual = { group: 'pumps', templateName: 'pump', serials: 'P-*', most: 1000, mostAnHour: 1000 };
  const { claims } = gateway.asOperator;
  const deps = { claims, audit: gateway.audit, now: Date.now };
  await addClaim({ ...usual, endsAt: Date.now() + day, ...limits, id }, deps);
}
