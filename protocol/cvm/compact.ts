import { encode } from 'cborg';

/** What stands for each key in `"format":"compact"`; a key keeps its number. All take one byte (RFC 8949, 3.1). */
export const compactKeys = {
  status: 0,
  id: 1,
  certificateId: 2,
  certificatePem: 3,
  privateKey: 4,
  thingName: 5,
  endpoint: 6,
  rootCa: 7,
  time: 8,
  position: 9,
  etaSeconds: 10,
  retryAfter: 11,
  statusCode: 12,
  errorCode: 13,
  errorMessage: 14,
  deviceConfiguration: 15,
} as const;

const statuses = { accepted: 1, pending: 2, rejected: 3 } as const;

type Fields = {
  readonly [Key in Exclude<keyof typeof compactKeys, 'status'>]?:
    | string
    | number
    | Uint8Array
    | Readonly<Record<string, string>>;
} & { readonly status: keyof typeof statuses };

/** A reply as a CBOR map with numbers as keys, the status as a number, and the certificate's id as its 32 bytes. The device's configuration has the keys that its template gives. */
export function compactPayload({ status, certificateId, ...fields }: Fields): Buffer {
  const map = new Map<number, unknown>([[compactKeys.status, statuses[status]]]);
  if (certificateId !== undefined) map.set(compactKeys.certificateId, Buffer.from(String(certificateId), 'hex'));
  for (const [key, value] of Object.entries(fields)) map.set(compactKeys[key as keyof typeof compactKeys], value);
  return Buffer.from(encode(map));
}
