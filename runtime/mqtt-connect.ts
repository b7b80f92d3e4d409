import { connect, type IClientOptions, type MqttClient } from 'mqtt';

/**
 * Connects over TLS and MQTT 3.1.1 (or 5), once: it does not reconnect by itself. It also rejects when the other side closes before
 * its CONNACK; the promise of the library would never settle then.
 */
export function connectOnce(options: IClientOptions, protocolVersion: 4 | 5 = 4): Promise<MqttClient> {
  const client = connect({
    connectTimeout: 30_000,
    ...options,
    protocol: 'mqtts',
    protocolVersion,
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
