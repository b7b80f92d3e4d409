import { emptyFlash, type Head, readSmall, type SmallMessage, takePart } from './small-packets.ts';

/** One connection of a device, on which it asks for its reply from this part on. */
export type SmallLink = { ask(part: number): void; close(): void };

/** What befalls a device, each as a share of the messages that it hears. */
export type Trouble = {
  /** it acknowledges a part, and has lost it */
  readonly lost: number;
  /** it neither takes nor acknowledges it */
  readonly unheard: number;
  /** it takes it twice */
  readonly twice: number;
  /** it takes it after the next one */
  readonly late: number;
  /** its connection breaks before or after it has written the part */
  readonly broken: number;
};

export const noTrouble: Trouble = { lost: 0, unheard: 0, twice: 0, late: 0, broken: 0 };

export type Assembled = {
  readonly whole: Buffer;
  /** undefined where the reply came in one packet, since it fits */
  readonly head: Head | undefined;
  readonly asks: number;
  readonly connections: number;
  /** `pending` and rejections that came on the way */
  readonly notices: SmallMessage[];
};

/**
 * A device with small packets, until it has its reply: asks for it from the part on that it has not got, on a new connection where one breaks,
 * and when it has heard nothing for `idleMs`.
 * @param options.connect brings each message and how to acknowledge it
 * @param options.random from 0 to below 1
 */
export function assemble(options: {
  connect(heard: (payload: Buffer, acknowledge: () => void) => void): Promise<SmallLink>;
  random(): number;
  trouble: Trouble;
  idleMs: number;
  maxAsks?: number;
}): Promise<Assembled> {
  const { connect, random, trouble, idleMs, maxAsks = 1000 } = options;
  const flash = emptyFlash();
  const notices: SmallMessage[] = [];
  let [asks, connections] = [0, 0];
  let askedFor: number | undefined;
  let link: SmallLink | undefined;
  let timer: NodeJS.Timeout | undefined;
  let late: SmallMessage | undefined;
  let isOver = false;

  return new Promise((resolve, reject) => {
    function fail(error: unknown): void {
      isOver = true;
      clearTimeout(timer);
      link?.close();
      reject(error);
    }

    function wait(): void {
      clearTimeout(timer);
      if (isOver) return;
      timer = setTimeout(() => askFor(flash.next), idleMs);
    }

    function askFor(part: number): void {
      if (++asks > maxAsks) {
        fail(new Error(`asked ${maxAsks} times; next is part ${flash.next}`));
        return;
      }
      askedFor = part;
      link?.ask(part);
      wait();
    }

    function begin(): void {
      link?.close();
      link = undefined;
      connections++;
      const own = connections;
      connect((payload, acknowledge) => {
        if (own === connections && !isOver) hear(payload, acknowledge);
      }).then((opened) => {
        link = opened;
        askFor(flash.next);
      }, fail);
    }

    function take(message: SmallMessage): void {
      if (message.type === 'pending' || message.type === 'rejected') return void notices.push(message);
      const taken = takePart(flash, message);
      if (taken === 'written') askedFor = undefined;
      if (typeof taken === 'string') return;
      if ('whole' in taken) finish(taken.whole);
      // one request for a gap
      else if (taken.ask !== askedFor) askFor(taken.ask);
    }

    function finish(whole: Buffer): void {
      isOver = true;
      clearTimeout(timer);
      link?.close();
      resolve({ whole, head: flash.head, asks, connections, notices });
    }

    function hear(payload: Buffer, acknowledge: () => void): void {
      const message = readSmall(Buffer.from(payload));
      if (message === undefined) {
        acknowledge();
        finish(Buffer.from(payload));
        return;
      }
      wait();
      const fate = fateOf(random(), trouble);
      if (fate === 'broken') breakAround(message);
      else if (fate === 'late' && late === undefined) {
        late = message;
        acknowledge();
      } else if (fate === 'lost') acknowledge();
      else if (fate !== 'unheard') takeAndAcknowledge(message, fate === 'twice', acknowledge);
    }

    /** The connection breaks, and the part is in flash by then, or is not. */
    function breakAround(message: SmallMessage): void {
      if (random() < 0.5) take(message);
      if (!isOver) begin();
    }

    function takeAndAcknowledge(message: SmallMessage, isTwice: boolean, acknowledge: () => void): void {
      take(message);
      if (isTwice) take(message);
      acknowledge();
      const held = late;
      late = undefined;
      if (held !== undefined) take(held);
    }

    begin();
  });
}

/** @param luck from 0 to below 1 */
function fateOf(luck: number, trouble: Trouble): keyof Trouble | undefined {
  let below = 0;
  for (const [fate, share] of Object.entries(trouble)) {
    below += share;
    if (luck < below) return fate as keyof Trouble;
  }
  return undefined;
}
