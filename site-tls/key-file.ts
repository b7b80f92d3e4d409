import { createPrivateKey } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';

/** Which permission bits a key file may not have, and the command that removes them. */
type KeyPermissions = { readonly forbidden: number; readonly cure: string; readonly ofOperator?: true };

/** A key that we made: no other user has any right to it. */
const madeHere: KeyPermissions = { forbidden: 0o077, cure: 'chmod 600' };

/**
 * A key that the operator gives: its group may read it. Kubernetes' fsGroup and Debian's ssl-cert group give a key in this
 * way to a program that does not run as root.
 */
export const givenByOperator: KeyPermissions = { forbidden: 0o037, cure: 'chmod 640', ofOperator: true };

/** Reads a private key (PEM). @throws with the cure when other users can read it, or it is no private key */
export function readKey(file: string, { forbidden, cure, ofOperator } = madeHere): string {
  const mode = statSync(file).mode & 0o777;
  if ((mode & forbidden) !== 0)
    throw new Error(`${file} is open to others (mode ${mode.toString(8)}); run: ${cure} ${file}`);
  const pem = readFileSync(file, 'utf8');
  try {
    createPrivateKey(pem);
  } catch {
    throw new Error(
      `${file} ${ofOperator ? problemOfGiven(pem) : 'is not a private key in PEM; restore it from a backup'}`,
    );
  }
  return pem;
}

function problemOfGiven(text: string): string {
  if (/^-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(text))
    return 'has a passphrase, for which a service cannot be asked: write the key without one (openssl pkey -in FILE -out NEW-FILE)';
  if (text.includes('-----BEGIN CERTIFICATE')) return 'has a certificate: name the file that has its private key';
  return `is not a private key in PEM (a text with a line -----BEGIN PRIVATE KEY-----): ${ofOtherForm('openssl pkey -inform DER')}`;
}

/** @param read the command that reads DER */
export const ofOtherForm = (read: string): string =>
  `a file in DER becomes PEM by ${read} -in FILE -out NEW-FILE, and one in PKCS#12 (.pfx, .p12) by openssl pkcs12 -in FILE -nodes -out NEW-FILE`;
