import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { Aedes, type Client } from 'aedes';
import { closingReasons } from '../closing-reasons.ts';
import type { Limits } from '../limits.ts';
import { type Connection, connectionOf } from '../listener/connection.ts';
import { codes } from '../mqtt5/reason-codes.ts';
import type { HookOptions } from './context.ts';
import { createHooks } from './hooks.ts';
import { createPersistence, noEmitter } from './nothing-kept.ts';

/** MQTT for streams that come from the device listener. */
export type MqttBroker = {
  handle(stream: Duplex): void;
  /** Ends all connections. */
  close(): Promise<void>;
};

/** Limits of aedes for what its hooks do not see. */
export const aedesLimits = ({ connectMs, drainMs }: Limits) => ({
  connectTimeout: connectMs,
  drainTimeout: drainMs,
  queueLimit: 16,
  maxInflightInbound: 8,
  maxTopicLevels: 8,
});

/** Why aedes closes a connection, by its own text. */
const inWords: Readonly<Record<string, string>> = {
  'keep alive timeout': closingReasons.silent,
  'connect did not arrive in time': closingReasons.noConnect,
  'drain timeout': closingReasons.readsNothing,
};

/** Starts aedes with our hooks. */
export async function startMqttBroker(options: HookOptions): Promise<MqttBroker> {
  const { log, refusals } = options;
  const { unsubscribed, acknowledged, ...hooks } = createHooks(options);
  const kept = { mq: noEmitter, persistence: createPersistence(acknowledged) };
  const aedes = new Aedes({ ...hooks, ...kept, ...aedesLimits(options.intake.limits) });
  /** that speak MQTT 5: they are told when the gateway stops */
  const connections = new Set<Connection>();
  const ended = ({ conn }: Client, err: Error) => {
    // the other side, or the network, ended it
    if ('syscall' in err) log.debug({ err }, 'connection ended');
    else refusals.connection(connectionOf(conn), inWords[err.message] ?? err.message);
  };
  aedes.on('clientError', ended);
  aedes.on('connectionError', ended);
  (aedes as EventEmitter).on('error', (err) => log.error({ err }, 'the MQTT broker reports a defect'));
  aedes.on('unsubscribe', unsubscribed);
  aedes.on('keepaliveTimeout', ({ conn }) =>
    connectionOf(conn).farewell(codes.keepAliveTimeout, closingReasons.silent),
  );
  aedes.on('client', (client) => {
    const connection = connectionOf(client.conn);
    connection.slot.connected();
    if (connection.mqtt5 === undefined) return;
    connections.add(connection);
    client.conn.on('close', () => connections.delete(connection));
  });
  aedes.on('clientReady', (client) => connectionOf(client.conn).connected());
  await aedes.listen();
  return {
    handle: (stream) => void aedes.handle(stream),
    close() {
      for (const connection of connections)
        connection.farewell(codes.serverShuttingDown, 'the gateway is stopping: connect again');
      return new Promise<void>((resolve) => aedes.close(resolve));
    },
  };
}
