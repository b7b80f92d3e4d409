// The gateway, as AWS IoT Fleet Provisioning: what differs from AWS is the endpoint, the root CA, and that the device shows
// its serial and its token in the place of a claim certificate.
import { readFileSync } from 'node:fs';
import sdk from 'aws-iot-device-sdk-v2';

const { io, iotidentity, mqtt5 } = sdk;

/** Without an answer for so long, the device connects and asks again. The gateway answers within ten seconds, if only to say for how long to wait. */
const ANSWER_SECONDS = 20;

/**
 * Starts a connection; a request waits for it. The client connects anew by itself, after a pause that doubles.
 * @param {(line: string) => void} say is told why the gateway cannot be reached
 */
export function connectGateway({ hostName, port, siteCaFile, serial, token, say }) {
  const tls = new io.TlsContextOptions();
  // of the site's own CA only
  tls.override_default_trust_store(readFileSync(siteCaFile, 'utf8'));
  const client = new mqtt5.Mqtt5Client({
    ...{ hostName, port, tlsCtx: new io.ClientTlsContext(tls) },
    connectProperties: { clientId: serial, username: serial, password: token, keepAliveIntervalSeconds: 60 },
    sessionBehavior: mqtt5.ClientSessionBehavior.Clean,
    // at random here, once for each connection: the jitter of the client begins at no pause at all
    retryJitterMode: mqtt5.RetryJitterType.None,
    ...{ minReconnectDelayMs: 1000 + Math.round(4000 * Math.random()), maxReconnectDelayMs: 120_000 },
  });
  client.on('connectionFailure', ({ error, connack }) =>
    say(`the gateway cannot be reached: ${connack?.reasonString ?? error.toString()}`),
  );
  client.start();
  // accepted and rejected, of two operations
  const limits = { maxRequestResponseSubscriptions: 4, maxStreamingSubscriptions: 1 };
  const identity = iotidentity.IotIdentityClientv2.newFromMqtt5(client, {
    ...{ ...limits, operationTimeoutInSeconds: ANSWER_SECONDS },
  });
  return {
    identity,
    leave() {
      identity.close();
      client.stop();
      client.close();
    },
  };
}

/**
 * What to do after a request that failed. Too many requests (429), and trouble of AWS or of the gateway (5xx), pass; what is wrong with
 * the device or its request does not. Without an answer nothing is known, and asking again does no harm.
 */
export function whyRefused(error) {
  const { statusCode, errorCode, errorMessage } = error.modeledError ?? {};
  if (statusCode === undefined) {
    const { internalError, message } = error;
    return { message: internalError === undefined ? message : `no answer: ${internalError}`, isFinal: false };
  }
  const passes = statusCode === 429 || statusCode >= 500;
  const [, seconds] = /ask again in (\d+) s$/.exec(errorMessage) ?? [];
  return {
    errorCode,
    message: `${errorCode}: ${errorMessage}`,
    isFinal: !passes,
    ...(seconds === undefined ? {} : { afterSeconds: Number(seconds) }),
  };
}
