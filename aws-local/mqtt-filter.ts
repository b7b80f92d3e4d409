import type { EventEmitter } from 'node:events';
import type { Client } from 'aedes';
import { faultOf, keepAliveOf, type MqttPacket, mqttLimits } from './mqtt-limits.ts';

type Incoming = MqttPacket & { keepalive?: number; readonly unsubscriptions?: readonly string[] };

/**
 * Holds a client's packets to AWS's limits before aedes sees them, and closes the connection at one that breaks a limit: it gets
 * neither PUBACK nor SUBACK. aedes has no hook for whole packets, so this stands between its parser and its handler, which are
 * private: the version of aedes is pinned, and the contract tests notice when it no longer works.
 */
export function filterPackets(client: Client, onRefused: (reason: string) => void): void {
  const { _parser: parser } = client as Client & { readonly _parser: EventEmitter };
  const [handle] = parser.listeners('packet');
  if (handle === undefined) throw new Error('aedes does not read packets as it did');
  const subscribed = new Set<string>();

  function fault(packet: Incoming): string | undefined {
    for (const topic of packet.unsubscriptions ?? []) subscribed.delete(topic);
    const broken = faultOf(packet);
    if (broken !== undefined) return broken;
    for (const { topic } of packet.subscriptions ?? []) subscribed.add(topic);
    const { subscriptionsPerConnection: most } = mqttLimits;
    return subscribed.size > most ? `the connection has more than ${most} subscriptions` : undefined;
  }

  parser.removeAllListeners('packet').on('packet', (packet: Incoming) => {
    const reason = fault(packet);
    if (reason !== undefined) {
      onRefused(reason);
      client.close();
      return;
    }
    if (packet.cmd === 'connect') packet.keepalive = keepAliveOf(packet.keepalive ?? 0);
    handle.call(parser, packet);
  });
}
