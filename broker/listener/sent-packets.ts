import { frameAt } from './mqtt-frame.ts';
import { qosOf, types } from './packet-types.ts';

const nothing = Buffer.alloc(0);

/** At the end of each packet: its first byte, and the message id of a PUBLISH with QoS 1 or 2. */
export type OnPacket = (header: number, messageId: number | undefined) => void;

/** Follows the packets that are written to a client, chunk by chunk. aedes writes them field by field, so a chunk may end anywhere. */
export class SentPackets {
  #rest: Buffer = nothing;
  /** the packet that is being written, from when its fields are known */
  #present: Start | undefined;
  #written = 0;

  follow(chunk: Buffer, onPacket: OnPacket): void {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      this.#present ??= readStart(data);
      if (this.#present === undefined) {
        // an empty slice would keep the memory that it is a slice of
        this.#rest = data.length === 0 ? nothing : data;
        return;
      }
      const { length, header, messageId } = this.#present;
      const part = Math.min(length - this.#written, data.length);
      this.#written += part;
      data = data.subarray(part);
      this.#rest = nothing;
      if (this.#written < length) return;
      onPacket(header, messageId);
      this.#present = undefined;
      this.#written = 0;
    }
  }
}

type Start = { readonly header: number; readonly length: number; readonly messageId: number | undefined };

/** @returns undefined when too little of the packet is there */
function readStart(data: Buffer): Start | undefined {
  const frame = frameAt(data, 0);
  if (frame === undefined || typeof frame === 'string') return undefined;
  const [header = 0, { bodyAt }] = [data[0], frame];
  const start = { header, length: bodyAt + frame.length, messageId: undefined };
  if (header >> 4 !== types.publish || qosOf(header) === 0) return start;
  if (data.length < bodyAt + 2) return undefined;
  const idAt = bodyAt + 2 + data.readUInt16BE(bodyAt);
  return data.length < idAt + 2 ? undefined : { ...start, messageId: data.readUInt16BE(idAt) };
}
