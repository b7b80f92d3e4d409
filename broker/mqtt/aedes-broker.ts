import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { Aedes, type Client } from 'aedes';
import type { Limits } from '../limits.ts';
import { connectionOf } from '../listener/connection.ts';
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
  'keep alive timeout': 'nothing came from it for one and a half times its keep-alive [MQTT-3.1.2-24]',
  'connect did not arrive in time': 'no CONNECT came in time [MQTT-3.1.4]',
  'drain timeout': 'it did not read what it was sent',
};

/** Starts aedes with our hooks. */
export async function startMqttBroker(options: HookOptions): Promise<MqttBroker> {
  const { log, refusals } = options;
  const { unsubscribed, acknowledged, ...hooks } = createHooks(options);
  const kept = { mq: noEmitter, persistence: createPersistence(acknowledged) };
  const aedes = new Aedes({ ...hooks, ...kept, ...aedesLimits(options.intake.limits) });
  const ended = ({ conn }: Client, err: Error) => {
    // the other side, or the network, ended it
    if ('syscall' in err) log.debug({ err }, 'connection ended');
    else refusals.connection(connectionOf(conn), inWords[err.message] ?? err.message);
  };
  aedes.on('clientError', ended);
  aedes.on('connectionError', ended);
  (aedes as EventEmitter).on('error', (err) => log.error({ err }, 'the MQTT broker reports a defect'));
  aedes.on('unsubscribe', unsubscribed);
  aedes.on('client', (client) => connectionOf(client.conn).slot.connected());
  aedes.on('clientReady', (client) => connectionOf(client.conn).connected());
  await aedes.listen();
  return {
    handle: (stream) => void aedes.handle(stream),
    close: () => new Promise<void>((resolve) => aedes.close(resolve)),
  };
}
