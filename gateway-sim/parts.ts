import { createHash } from 'node:crypto';
import { type Reply, readReply } from './reply.ts';

/** First bytes of messages with fixed fields; what begins with another is JSON or CBOR. See "Small packets" of docs/protocol.md. */
const [head, part, pending, rejected] = [1, 2, 3, 4];

/** A device with small packets: puts its reply together from parts, over all its connections. */
export class Parts {
  #sha256: Buffer | undefined;
  #count = 0;
  #data: Buffer[] = [];

  /** The part to ask for. */
  get next(): number {
    return this.#sha256 === undefined ? 0 : this.#data.length + 1;
  }

  /** @returns the reply that is whole with this message; undefined while parts are missing @throws Error when they do not fit together */
  take(payload: Buffer): Reply | undefined {
    switch (payload[0]) {
      case head:
        return this.#begin(payload);
      case part:
        return this.#add(payload);
      case pending: {
        const [position, etaSeconds, retryAfter] = [1, 5, 9].map((at) => payload.readUInt32BE(at)) as [
          number,
          number,
          number,
        ];
        return { status: 'pending', position, ...(etaSeconds === 0 ? {} : { etaSeconds }), retryAfter };
      }
      case rejected: {
        const retryAfter = payload.readUInt32BE(3);
        const errorCode = payload.toString('latin1', 8, 8 + (payload[7] ?? 0));
        return { status: 'rejected', errorCode, ...(retryAfter === 0 ? {} : { retryAfter }) };
      }
      default:
        return readReply(payload);
    }
  }

  #begin(payload: Buffer): undefined {
    const sha256 = Buffer.from(payload.subarray(13));
    if (this.#sha256?.equals(sha256) === true) return;
    this.#sha256 = sha256;
    this.#count = payload.readUInt16BE(1);
    this.#data = [];
  }

  #add(payload: Buffer): Reply | undefined {
    const [number, sha256] = [payload.readUInt16BE(1), this.#sha256];
    if (sha256 === undefined || !payload.subarray(3, 5).equals(sha256.subarray(0, 2)) || number > this.next)
      return this.#startAnew('a part came that belongs to no other');
    if (number < this.next) return undefined;
    // a copy: the packet is a piece of what came with it
    this.#data.push(Buffer.from(payload.subarray(5)));
    if (this.#data.length < this.#count) return undefined;
    const whole = Buffer.concat(this.#data);
    if (!createHash('sha256').update(whole).digest().equals(sha256))
      return this.#startAnew('the parts have another hash than part 0 says');
    return readReply(whole);
  }

  #startAnew(reason: string): never {
    this.#sha256 = undefined;
    this.#data = [];
    throw new Error(reason);
  }
}
