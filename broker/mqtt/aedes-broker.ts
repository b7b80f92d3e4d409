import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { Aedes } from 'aedes';
import type { Limits } from '../limits.ts';
import { connectionOf } from '../listener/connection.ts';
import type { HookOptions } from './context.ts';
import { createHooks } from './hooks.ts';

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

/** Starts aedes with our hooks. */
export async function startMqttBroker(options: HookOptions): Promise<MqttBroker> {
  const { log } = options;
  const aedes = new Aedes({ ...createHooks(options), ...aedesLimits(options.intake.limits) });
  aedes.on('clientError', (_client, err) => log.debug({ err }, 'connection ended'));
  aedes.on('connectionError', (_client, err) => log.debug({ err }, 'connection ended before CONNECT'));
  (aedes as EventEmitter).on('error', (err) => log.error({ err }, 'the MQTT broker reports a defect'));
  aedes.on('client', (client) => connectionOf(client.conn).slot.connected());
  aedes.on('clientReady', (client) => connectionOf(client.conn).connected());
  await aedes.listen();
  return {
    handle: (stream) => void aedes.handle(stream),
    close: () => new Promise<void>((resolve) => aedes.close(resolve)),
  };
}
