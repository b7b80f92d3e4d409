import { connect, type IClientOptions, type MqttClient } from 'mqtt';

/**
 * Connects over TLS and MQTT 3.1.1, once: no reconnecting behind the caller's back. It rejects also when the other side
 * closes before its CONNACK, which the library's own promise waits out for ever.
 */
export function connectOnce(options: IClientOptions): Promise<MqttClient> {
  const client = connect({
    connectTimeout: 30_000,
    ...options,
    protocol: 'mqtts',
    protocolVersion: 4,
    reconnectPeriod: 0,
  });
  return new Promise((resolve, reject) => {
    const fail = (error?: Error) => {
      client.end(true);
      reject(error ?? new Error('the connection was closed before it was accepted'));
    };
    const closed = () => fail();
    client.once('error', fail).once('close', closed);
    client.once('connect', () => {
      client.off('error', fail).off('close', closed);
      // from now on a failure shows as a closed connection; without a listener it would end the process
      client.on('error', () => {});
      resolve(client);
    });
  });
}
