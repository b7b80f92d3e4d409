// AWS IoT Core itself, with the certificate and the key that the gateway gave.
import { readFileSync } from 'node:fs';
import sdk from 'aws-iot-device-sdk-v2';

const { iot, mqtt } = sdk;

const ANSWER_MS = 10_000;

/** @throws when AWS does not take the certificate, or its policy does not allow this client id */
export async function connectAws({ hostName, port, rootCaFile, thingName, certificatePem, privateKey }) {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder(certificatePem, privateKey)
    .with_certificate_authority(readFileSync(rootCaFile, 'utf8'))
    .with_endpoint(hostName)
    .with_port(port)
    // the device policy allows no other client id than the name of the thing
    .with_client_id(thingName)
    .with_clean_session(true)
    .with_keep_alive_seconds(60)
    .with_protocol_operation_timeout_ms(ANSWER_MS)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();

  return {
    /** Publishes to a topic of the device, and hears it from there. */
    async publishAndHear(topic, message) {
      const payload = JSON.stringify(message);
      const heard = new Promise((resolve) => {
        connection.on('message', (_topic, bytes) => resolve(Buffer.from(bytes).toString()));
      });
      await connection.subscribe(topic, mqtt.QoS.AtLeastOnce);
      await connection.publish(topic, payload, mqtt.QoS.AtLeastOnce);
      return heard;
    },
    leave: () => connection.disconnect(),
  };
}
