import { z } from 'zod';

/** lower-case hex SHA-256, as AWS names certificates */
const shape = z.object({ certificateId: z.string().regex(/^[0-9a-f]{64}$/) });

/** The certificate that a device says it has stored, from `{"certificateId": "…"}`; undefined when the payload is not that. */
export function parseAcknowledgement(payload: Uint8Array): string | undefined {
  try {
    return shape.parse(JSON.parse(Buffer.from(payload).toString('utf8'))).certificateId;
  } catch {
    return undefined;
  }
}
