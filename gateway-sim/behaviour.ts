import { z } from 'zod';
import { largestPacket } from '../protocol/packet-size.ts';

const share = z.number().min(0).max(1);
const seconds = z.number().positive().max(86_400);

/** How one kind of device acts. Each part has a default, which is what well-made firmware does. */
export const behaviour = z.strictObject({
  /** the key pair is made by AWS, the gateway or the device */
  flow: z.enum(['rsa', 'ec', 'csr']).default('ec'),
  encoding: z.enum(['json', 'cbor']).default('json'),
  /** where the token is presented: in the request, in CONNECT, or as the key of the TLS handshake */
  prove: z.enum(['payload', 'password', 'psk']).default('payload'),
  /** `wrong`: must be refused. `replayed`: asks once more after it has acknowledged, and must be refused then */
  token: z.enum(['right', 'wrong', 'replayed']).default('right'),
  /** false: old firmware, which does not acknowledge */
  acknowledges: z.boolean().default(true),
  /** after `pending`: waits on its connection, or leaves and comes back after `retryAfter` */
  whenPending: z.enum(['wait', 'leave']).default('wait'),
  /** leaves after so many seconds without an answer, and comes back */
  sleepy: z.strictObject({ awakeSeconds: seconds, asleepSeconds: seconds }).optional(),
  /** share of the packets that are heard after which the connection breaks */
  linkBreaks: share.max(0.9).default(0),
  /** seconds between TCP's connection and TLS's first byte */
  slowHandshakeSeconds: seconds.optional(),
  /** the largest packet that it takes, in bytes: longer replies come in parts */
  maxPacket: z.int().min(128).max(largestPacket).optional(),
});

export type Behaviour = Readonly<z.output<typeof behaviour>>;
export type Flow = Behaviour['flow'];

export const usualBehaviour: Behaviour = behaviour.parse({});
