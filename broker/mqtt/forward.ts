import type { AedesPublishPacket, Client } from 'aedes';

/**
 * Sending, and the last line of defence behind it: aedes forwards a message to a connection only while we are sending it to
 * this very connection. Whatever else is published inside aedes, by whatever way, reaches no device.
 */
export function createForwarding() {
  /** payloads by the connection that they are being sent to; a payload is known by its identity, not by its bytes */
  const sending = new WeakMap<Client, WeakSet<object>>();

  return {
    /** Sends a message to this connection alone, with QoS 1. Resolves when it is written. */
    send(client: Client, topic: string, payload: Buffer): Promise<void> {
      const payloads = sending.get(client) ?? new WeakSet();
      sending.set(client, payloads.add(payload));
      return new Promise((resolve, reject) => {
        if (client.closed) return reject(new Error('the connection is closed'));
        client.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, (error) =>
          error ? reject(error) : resolve(),
        );
      });
    },
    authorizeForward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
      return sending.get(client)?.has(packet.payload as Buffer) === true ? packet : null;
    },
  };
}

export type Forwarding = ReturnType<typeof createForwarding>;
