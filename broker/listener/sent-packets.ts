import { frameAt } from './mqtt-frame.ts';
import { qosOf, types } from './packet-types.ts';

const nothing = Buffer.alloc(0);

/**
 * Follows the packets that are written to a client, chunk by chunk. aedes writes them field by field, so a chunk may end anywhere.
 * @param onPacket is called at the end of each packet with its first byte, and the message id of a PUBLISH with QoS 1 or 2
 */
export function followSent(onPacket: (header: number, messageId: number | undefined) => void): (chunk: Buffer) => void {
  let rest: Buffer = nothing;
  /** the packet that is being written, from when its fields are known */
  let present: Start | undefined;
  let written = 0;

  return (chunk) => {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      present ??= readStart(data);
      if (present === undefined) {
        rest = data;
        return;
      }
      const part = Math.min(present.length - written, data.length);
      [written, data, rest] = [written + part, data.subarray(part), nothing];
      if (written < present.length) return;
      onPacket(present.header, present.messageId);
      [present, written] = [undefined, 0];
    }
  };
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
