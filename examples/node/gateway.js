// One connection to the gateway: MQTT 5 over TLS.
import { hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import mqtt from 'mqtt';

const CONNECT_MS = 30_000;
const PUBACK_MS = 10_000;

/**
 * The gateway proves itself by a certificate of the site's own CA. No other CA counts.
 * @param {string} siteCaFile what `cvm tls ca` prints
 */
export const bySiteCa = (siteCaFile) => ({ ca: readFileSync(siteCaFile) });

/**
 * Both sides prove themselves by a key that is derived from the token: the device needs no CA and no clock.
 * A server that goes on by certificate instead is not believed, whatever its certificate is.
 */
export function byPreSharedKey(serial, token) {
  const psk = Buffer.from(hkdfSync('sha256', token, serial, 'cvm-gateway tls psk v1', 32));
  return {
    ca: [],
    minVersion: 'TLSv1.3',
    // the key goes with SHA-256, and so must the suite
    ciphers: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',
    pskCallback: () => ({ psk, identity: serial }),
    checkServerIdentity: (_host, { raw }) =>
      raw === undefined ? undefined : new Error('the server did not use the key'),
  };
}

/**
 * Connects once: the caller decides when to come back. The reply comes to the connection that asked, without a subscription.
 * @param {{host: string, port: number, serial: string, token: string, trust: object, protocolVersion?: 4 | 5}} options
 *   `trust`: what `bySiteCa` or `byPreSharedKey` returns
 * @throws when the gateway cannot be reached, is not the right one, or refuses the connection
 */
export async function connectGateway({ host, port, serial, token, trust, protocolVersion = 5 }) {
  const client = mqtt.connect({
    ...{ protocol: 'mqtts', host, port, servername: host, ...trust },
    ...{ protocolVersion, clean: true, keepalive: 60, clientId: serial, username: serial, password: token },
    ...{ connectTimeout: CONNECT_MS, reconnectPeriod: 0 },
  });
  let reason = 'it was closed';
  // MQTT 5 says why; MQTT.js tells an error of TLS or of CONNACK before it closes
  client.on(
    'disconnect',
    ({ properties, reasonCode }) => (reason = properties?.reasonString ?? `reason code ${reasonCode}`),
  );
  client.on('error', (error) => (reason = explain(error, trust)));
  const closed = new Promise((_, reject) => {
    client.once('close', () => reject(new Error(`the connection ended: ${reason}`)));
  });
  // a connection may end while the program does not wait for its end: that is no failure
  closed.catch(() => {});

  const replies = mailbox();
  client.on('message', (topic, payload) => {
    if (topic === `cvm/reply/${serial}`) replies.put(payload.toString());
  });
  await Promise.race([new Promise((resolve) => client.once('connect', resolve)), closed]);

  /** Resolves at the PUBACK: the gateway has stored it. @throws without one, and where it says why in MQTT 5 */
  async function publish(kind, message) {
    const sent = client.publishAsync(`cvm/${kind}/${serial}`, JSON.stringify(message), { qos: 1 });
    sent.catch(() => {});
    await Promise.race([sent, closed, failAfter(PUBACK_MS, 'the gateway did not acknowledge the message')]);
  }

  return {
    /** After it the request is stored, and will be answered. */
    request: (message) => publish('request', message),
    /** `stored in flash`: the token is spent from now on. */
    acknowledge: (certificateId) => publish('ack', { certificateId }),
    /** The next reply; undefined when none came within this time. @throws when the connection ends */
    async nextReply(withinMs) {
      const payload = await Promise.race([replies.take(withinMs), closed]);
      return payload === undefined ? undefined : JSON.parse(payload);
    },
    leave: () => client.endAsync(true),
  };
}

/** TLS tells a wrong key by an alert, and nothing more. */
const explain = ({ code, message }, { pskCallback }) =>
  code === 'EPROTO' && pskCallback !== undefined
    ? 'the gateway does not know this serial with this token (it knows a new one some seconds after it was enrolled)'
    : message;

/** Holds what came until it is asked for. */
function mailbox() {
  const kept = [];
  let waiting;
  return {
    put(item) {
      if (waiting === undefined) kept.push(item);
      else waiting(item);
    },
    take(withinMs) {
      if (kept.length > 0) return Promise.resolve(kept.shift());
      return new Promise((resolve) => {
        const done = (item) => {
          clearTimeout(timer);
          waiting = undefined;
          resolve(item);
        };
        // the connection keeps the program alive while it waits, and nothing does when that has ended
        const timer = setTimeout(done, withinMs).unref();
        waiting = done;
      });
    },
  };
}

const failAfter = (ms, message) =>
  new Promise((_, reject) => {
    setTimeout(() => reject(new Error(message)), ms).unref();
  });
