import type { AedesPublishPacket, Client } from 'aedes';
import type { MessageProperties } from '../../protocol/dialect.ts';
import { payloadRoom } from '../../protocol/packet-size.ts';
import { connectionOf } from '../listener/connection.ts';
import type { Mqtt5 } from '../mqtt5/mqtt5.ts';
import { propertyBytes } from '../mqtt5/sent.ts';
import type { Refusals } from '../refusals.ts';

/** What is sent to one connection. */
class Outgoing {
  /** payloads that are being sent; a payload is known by its identity, not by its bytes */
  readonly payloads = new WeakSet<object>();
  /** what to call at the acknowledgement of the message with this payload, and with this message id */
  readonly awaiting = new WeakMap<object, () => void>();
  readonly sent = new Map<number, () => void>();
  #lastId = 0;

  /** Message ids are ours: aedes does not tell which it took. Never 0 [MQTT-2.3.1-1]. */
  nextId(): number {
    this.#lastId = (this.#lastId % 0xffff) + 1;
    return this.#lastId;
  }
}

/** What aedes has granted to a client, by filter; its types do not say so. */
type Subscriber = Client & { readonly subscriptions?: Readonly<Record<string, { readonly qos: number }>> };

/** Messages of one connection whose acknowledgement is waited for; of more, the oldest are forgotten. */
const maxAwaited = 16;

/**
 * Sending, and the last line of defence behind it: aedes forwards a message to a connection only while we are sending it to
 * this very connection. Whatever else is published inside aedes, by whatever way, reaches no device.
 */
export function createForwarding({ unsent }: Pick<Refusals, 'unsent'>) {
  const sending = new WeakMap<Client, Outgoing>();

  function outgoingOf(client: Client): Outgoing {
    const outgoing = sending.get(client) ?? new Outgoing();
    sending.set(client, outgoing);
    return outgoing;
  }

  /** Sends a message to this connection alone, with QoS 1. Resolves when it is written. */
  function send(client: Client, topic: string, payload: Buffer, properties: MessageProperties = {}): Promise<void> {
    const connection = connectionOf(client.conn);
    const tooLarge = whyTooLarge(connection.mqtt5, topic, payload, properties);
    if (tooLarge !== undefined) {
      unsent(connection, tooLarge);
      return Promise.reject(new Error(tooLarge));
    }
    connection.mqtt5?.expectMessage(payload, properties);
    outgoingOf(client).payloads.add(payload);
    return new Promise((resolve, reject) => {
      if (client.closed) return reject(new Error('the connection is closed'));
      client.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, (error) =>
        error ? reject(error) : resolve(),
      );
    });
  }

  return {
    send,
    /** The same, but resolves at the PUBACK. Where the device subscribed with QoS 0 there is none: then when it is written. */
    async deliver(client: Client, topic: string, payload: Buffer, properties?: MessageProperties): Promise<void> {
      const { subscriptions } = client as Subscriber;
      if (subscriptions?.[topic]?.qos === 0) return send(client, topic, payload, properties);
      const acknowledged = new Promise<void>((resolve) => outgoingOf(client).awaiting.set(payload, resolve));
      await send(client, topic, payload, properties);
      await acknowledged;
    },
    authorizeForward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
      const outgoing = sending.get(client);
      const payload = packet.payload as Buffer;
      if (outgoing?.payloads.has(payload) !== true) return null;
      packet.messageId = outgoing.nextId();
      const onAcknowledged = outgoing.awaiting.get(payload);
      outgoing.sent.delete(packet.messageId);
      if (onAcknowledged !== undefined) outgoing.sent.set(packet.messageId, onAcknowledged);
      const [oldest = 0] = outgoing.sent.keys();
      if (outgoing.sent.size > maxAwaited) outgoing.sent.delete(oldest);
      return packet;
    },
    /** The device sent a PUBACK. */
    acknowledged(client: Client, messageId: number): void {
      const outgoing = sending.get(client);
      outgoing?.sent.get(messageId)?.();
      outgoing?.sent.delete(messageId);
    },
  };
}

export type Forwarding = ReturnType<typeof createForwarding>;

/** A packet above the client's Maximum Packet Size must not be sent [MQTT-3.1.2-24]. @returns undefined when it fits */
function whyTooLarge(
  mqtt5: Mqtt5 | undefined,
  topic: string,
  { length }: Buffer,
  properties: MessageProperties,
): string | undefined {
  const max = mqtt5?.maxPacketBytes;
  if (max === undefined) return undefined;
  const room = payloadRoom(topic, max, propertyBytes(properties));
  if (length <= room) return undefined;
  return `its Maximum Packet Size of ${max} bytes has room for ${Math.max(0, room)} bytes of payload, and the reply has ${length}: take larger packets, or ask with "format":"der", "rootCa":false, a CSR, or in CBOR`;
}
