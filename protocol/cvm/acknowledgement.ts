import { z } from 'zod';
import { readPayload } from '../encoding.ts';

/** AWS names a certificate by the SHA-256 of its DER, in lower-case hex. Firmware that has computed it by itself may write capitals. */
const certificateId = z
  .string()
  .regex(/^[0-9a-f]{64}$/i)
  .toLowerCase();
/** In CBOR also its 32 bytes, as a device has it from a compact reply. */
const bytes = z.instanceof(Uint8Array).transform((id) => Buffer.from(id).toString('hex'));
const shape = z.object({ certificateId: bytes.pipe(certificateId).or(certificateId) });

/** The certificate that a device says it has stored, from `{"certificateId": "…"}` in JSON or CBOR; undefined when the payload is not that. */
export function parseAcknowledgement(payload: Uint8Array): string | undefined {
  const read = readPayload(payload);
  return 'fault' in read ? undefined : shape.safeParse(read.value).data?.certificateId;
}
