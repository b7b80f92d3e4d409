import { nameOfType, qosOf, types } from './packet-types.ts';

const { puback, pubrec, pubcomp } = types;

/** For what a message of ours waits: which acknowledgements may come, and what it waits for after them [MQTT-4.3.2, MQTT-4.3.3]. */
const after: Readonly<Record<number, Readonly<Record<number, number | 'done'>>>> = {
  [puback]: { [puback]: 'done' },
  [pubrec]: { [pubrec]: pubcomp },
  [pubcomp]: { [pubrec]: pubcomp, [pubcomp]: 'done' },
};

/** Messages of one connection that are remembered: a client need not acknowledge any. */
const maxRemembered = 64;

/**
 * The messages of one connection that were sent to it with QoS 1 or 2, and are not acknowledged yet. An acknowledgement of the
 * other QoS is a protocol violation; one for a message that is not remembered may be a repetition, and is let through.
 */
export class Deliveries {
  /** the type of the acknowledgement that is waited for, by message id; oldest first. Most connections wait for nothing yet */
  #waiting: Map<number, number> | undefined;

  sent(header: number, messageId: number): void {
    this.#waiting ??= new Map();
    this.#waiting.delete(messageId);
    this.#waiting.set(messageId, qosOf(header) === 1 ? puback : pubrec);
    const [oldest = 0] = this.#waiting.keys();
    if (this.#waiting.size > maxRemembered) this.#waiting.delete(oldest);
  }

  /** @returns why the connection must end, or undefined */
  acknowledged(type: number, messageId: number): string | undefined {
    const awaited = this.#waiting?.get(messageId);
    if (awaited === undefined || type === types.pubrel) return undefined;
    const next = after[awaited]?.[type];
    if (next === undefined)
      return `${nameOfType(type)} for a message that waits for ${nameOfType(awaited)} [MQTT-4.3.2, 4.3.3, 4.8.0-1]`;
    if (next === 'done') this.#waiting?.delete(messageId);
    else this.#waiting?.set(messageId, next);
    return undefined;
  }
}
