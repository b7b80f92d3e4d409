import { createHash } from 'node:crypto';

/** Part 0 of a reply. */
export type Head = {
  readonly count: number;
  /** bytes of data in each part but the last */
  readonly size: number;
  readonly length: number;
  /** epoch seconds */
  readonly time: number;
  readonly sha256: Buffer;
};

export type SmallMessage =
  | { readonly type: 'head'; readonly head: Head }
  | { readonly type: 'part'; readonly number: number; readonly tag: Buffer; readonly data: Buffer }
  | {
      readonly type: 'pending';
      readonly position: number;
      readonly etaSeconds: number;
      readonly retryAfter: number;
      readonly id: string;
    }
  | {
      readonly type: 'rejected';
      readonly statusCode: number;
      readonly retryAfter: number;
      readonly errorCode: string;
      readonly id: string;
      readonly errorMessage: string;
    };

/** Reads a message as a device would that has docs/protocol.md alone. @returns undefined where it is none of these */
export function readSmall(payload: Buffer): SmallMessage | undefined {
  switch (payload[0]) {
    case 1: {
      if (payload.length !== 45) return undefined;
      const [count, size] = [payload.readUInt16BE(1), payload.readUInt16BE(3)];
      const [length, time] = [payload.readUInt32BE(5), payload.readUInt32BE(9)];
      return { type: 'head', head: { count, size, length, time, sha256: payload.subarray(13) } };
    }
    case 2:
      return { type: 'part', number: payload.readUInt16BE(1), tag: payload.subarray(3, 5), data: payload.subarray(5) };
    case 3: {
      const [position, etaSeconds, retryAfter] = [1, 5, 9].map((at) => payload.readUInt32BE(at)) as [
        number,
        number,
        number,
      ];
      return { type: 'pending', position, etaSeconds, retryAfter, id: textAt(payload, 13) };
    }
    case 4: {
      const [errorCode, id] = [textAt(payload, 7), textAt(payload, 8 + (payload[7] ?? 0))];
      const rest = 7 + 1 + (payload[7] ?? 0) + 1 + Buffer.byteLength(id);
      const [statusCode, retryAfter] = [payload.readUInt16BE(1), payload.readUInt32BE(3)];
      return { type: 'rejected', statusCode, retryAfter, errorCode, id, errorMessage: payload.toString('utf8', rest) };
    }
    default:
      return undefined;
  }
}

const textAt = (payload: Buffer, at: number): string => payload.toString('utf8', at + 1, at + 1 + (payload[at] ?? 0));

/** What survives a restart of the device. */
export type Flash = { head?: Head; readonly bytes: number[]; next: number };
export const emptyFlash = (): Flash => ({ bytes: [], next: 0 });

/** `whole`: it is complete, and has the SHA-256 that its head says. `ask`: the part to ask for. */
export type Taken = { readonly whole: Buffer } | { readonly ask: number } | 'written' | 'ignored';

/**
 * The reference of a device that puts a reply together: it holds one part, writes it behind the ones before, and takes no other than the next.
 * What comes twice, out of order, or of another reply, is passed over.
 */
export function takePart(flash: Flash, message: SmallMessage): Taken {
  if (message.type === 'head') {
    const { head } = message;
    if (flash.head?.sha256.equals(head.sha256) === true && flash.head.size === head.size) return 'ignored';
    startAnew(flash);
    flash.head = { ...head, sha256: Buffer.from(head.sha256) };
    flash.next = 1;
    return 'written';
  }
  const { head } = flash;
  if (message.type !== 'part') return 'ignored';
  if (head === undefined) return { ask: 0 };
  // the reply has changed since: the certificate was made anew, say
  if (!message.tag.equals(head.sha256.subarray(0, 2))) return { ask: 0 };
  if (message.number > flash.next) return { ask: flash.next };
  if (message.number < flash.next) return 'ignored';
  flash.bytes.push(...message.data);
  if (flash.next++ < head.count) return 'written';
  const whole = Buffer.from(flash.bytes);
  const isWhole = whole.length === head.length && createHash('sha256').update(whole).digest().equals(head.sha256);
  if (isWhole) return { whole };
  startAnew(flash);
  return { ask: 0 };
}

export function startAnew(flash: Flash): void {
  delete flash.head;
  flash.bytes.length = 0;
  flash.next = 0;
}
