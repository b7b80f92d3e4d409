import type { MessageProperties, ReplyParts } from '../protocol/dialect.ts';
import type { Session } from './session.ts';

/** A reply on its way to one connection, part by part. */
type Transfer = {
  readonly topic: string;
  readonly parts: ReplyParts;
  readonly properties: MessageProperties | undefined;
  next: number;
};

/** How the wait for the acknowledgement of a part ended; `interrupted`: the device asks for another part, or has gone. */
type Outcome = 'acknowledged' | 'interrupted' | 'late';

type Queue = {
  /** the first is under way */
  readonly transfers: Transfer[];
  /** ends the wait for the acknowledgement of the part that was sent last */
  interrupt(): void;
};

/**
 * Sends replies in parts: the next one when the device has acknowledged the one before, so it holds one at a time, and may write it to flash
 * before it acknowledges. A reply is kept as it was written, once, until its last part is acknowledged, the connection has closed, or the
 * device has acknowledged nothing for `partMs`; parts are cut from it as they are sent.
 */
export function createTransfers(options: { partMs: number; onError(session: Session, error: unknown): void }) {
  const { partMs, onError } = options;
  const queues = new WeakMap<Session, Queue>();

  function sendPart(session: Session, { topic, parts, properties, next }: Transfer, queue: Queue): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const settle = (settled: () => void) => {
        clearTimeout(timer);
        settled();
      };
      const end = (outcome: Outcome) => settle(() => resolve(outcome));
      const timer = setTimeout(() => end('late'), partMs);
      queue.interrupt = () => end('interrupted');
      session.deliver(topic, parts.part(next), properties).then(
        () => end('acknowledged'),
        (error) => settle(() => reject(error)),
      );
    });
  }

  async function run(session: Session, queue: Queue): Promise<void> {
    for (;;) {
      const [transfer] = queue.transfers;
      if (transfer === undefined) break;
      const outcome = await sendPart(session, transfer, queue);
      // another part of it is asked for, or all are given up
      if (queue.transfers[0] !== transfer) continue;
      if (outcome === 'acknowledged' && transfer.next < transfer.parts.last) transfer.next++;
      else queue.transfers.shift();
    }
    // at once: what begins from here on has a queue of its own
    queues.delete(session);
  }

  return {
    /**
     * Begins with part `parts.first`, after the transfers that are under way. One of the same whole goes on from there instead: the device asks
     * again for what it has not got. From then on it has the properties of the newer request.
     */
    begin(session: Session, topic: string, parts: ReplyParts, properties?: MessageProperties): void {
      if (session.closed) return;
      const queue = queues.get(session) ?? { transfers: [], interrupt() {} };
      queues.set(session, queue);
      const transfer = { topic, parts, properties, next: parts.first };
      const same = queue.transfers.findIndex((each) => each.topic === topic && isSame(each.parts, parts));
      if (same >= 0) {
        queue.transfers[same] = transfer;
        if (same === 0) queue.interrupt();
        return;
      }
      queue.transfers.push(transfer);
      if (queue.transfers.length > 1) return;
      run(session, queue).catch((error: unknown) => {
        queues.delete(session);
        onError(session, error);
      });
    },
    /** How many are under way to this connection. */
    countOf: (session: Session): number => queues.get(session)?.transfers.length ?? 0,
    /** The connection is gone. */
    release(session: Session): void {
      const queue = queues.get(session);
      queue?.transfers.splice(0);
      queue?.interrupt();
    },
  };
}

/** Of the same whole, cut in the same way. */
const isSame = (one: ReplyParts, other: ReplyParts): boolean => one.digest === other.digest && one.last === other.last;
