import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * What a gateway is in AWS IoT: a thing with a certificate, as `cvm aws setup --gateway` made them. It lies beside the certificate, so that
 * nothing of it needs a setting.
 */
export type GatewayIdentity = {
  readonly thingName: string;
  readonly certificateId: string;
  readonly roleAlias: string;
  /** host name of the account's credentials provider, with a port where that is not 443 */
  readonly endpoint: string;
};

export const identityFile = (certFile: string): string => join(dirname(certFile), 'gateway.json');

/** undefined where there is none, or one that another tool wrote: certificate and endpoint may be named by settings alone. */
export function readGatewayIdentity(certFile: string): GatewayIdentity | undefined {
  try {
    const found = JSON.parse(readFileSync(identityFile(certFile), 'utf8')) as Partial<GatewayIdentity> | null;
    const { thingName, certificateId, roleAlias, endpoint } = found ?? {};
    const parts = { thingName, certificateId, roleAlias, endpoint };
    return Object.values(parts).every((part) => typeof part === 'string') ? (parts as GatewayIdentity) : undefined;
  } catch {
    return undefined;
  }
}
