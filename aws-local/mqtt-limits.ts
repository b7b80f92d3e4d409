/** A packet as mqtt-packet reads it, as far as AWS has rules for it. */
export type MqttPacket = {
  readonly cmd: string;
  readonly clientId?: string;
  readonly will?: Published;
  readonly subscriptions?: readonly { readonly topic: string; readonly qos: number }[];
} & Partial<Published>;

type Published = { readonly topic: string; readonly payload: string | Buffer; readonly qos: number };

/** @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits */
export const mqttLimits = {
  clientIdBytes: 128,
  payloadBytes: 128 * 1024,
  topicBytes: 256,
  topicSlashes: 7,
  subscriptionsPerPacket: 8,
  subscriptionsPerConnection: 50,
  /** seconds. Less counts as the least, more and none as the most */
  keepAlive: { least: 30, most: 1200 },
} as const;

/** Seconds. @see the quota "Connection inactivity (keep-alive interval)" */
export function keepAliveOf(asked: number): number {
  const { least, most } = mqttLimits.keepAlive;
  return asked === 0 ? most : Math.min(Math.max(asked, least), most);
}

/**
 * What may be published and subscribed below `$aws/`; nothing else that begins with `$`.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/reserved-topics.html
 */
const reserved = {
  publish: [
    /^\$aws\/things\/[^/]+\/(shadow|jobs|defender|streams)\//,
    /^\$aws\/(rules|certificates|provisioning-templates|device_location|commands)\//,
  ],
  subscribe: [
    /^\$aws\/things\/[^/]+\/(shadow|jobs|defender|streams|tunnels)\//,
    /^\$aws\/(events|certificates|provisioning-templates|device_location|sitewise|commands)\//,
  ],
} as const;

/** The first three segments of a Basic Ingest topic, which are not counted. */
const basicIngest = /^\$aws\/rules\/[^/]+\//i;

/** Why AWS closes the connection at this packet; undefined where it does not. @see https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html#mqtt-differences */
export function faultOf(packet: MqttPacket): string | undefined {
  switch (packet.cmd) {
    case 'connect':
      if (Buffer.byteLength(packet.clientId ?? '') > mqttLimits.clientIdBytes)
        return `the client id is longer than ${mqttLimits.clientIdBytes} bytes`;
      return packet.will === undefined || packet.will === null ? undefined : faultOfMessage(packet.will);
    case 'publish':
      return faultOfMessage(packet as Published);
    case 'subscribe': {
      const { subscriptions = [] } = packet;
      if (subscriptions.length > mqttLimits.subscriptionsPerPacket)
        return `a packet has more than ${mqttLimits.subscriptionsPerPacket} subscriptions`;
      return subscriptions.map(({ topic, qos }) => faultOfQos(qos) ?? faultOfTopic(topic, 'subscribe')).find(Boolean);
    }
    default:
      return undefined;
  }
}

function faultOfMessage({ topic, payload, qos }: Published): string | undefined {
  if (Buffer.byteLength(payload) > mqttLimits.payloadBytes)
    return `the payload is longer than ${mqttLimits.payloadBytes} bytes`;
  return faultOfQos(qos) ?? faultOfTopic(topic, 'publish');
}

const faultOfQos = (qos: number) => (qos > 1 ? 'QoS 2 is not supported' : undefined);

function faultOfTopic(topic: string, use: 'publish' | 'subscribe'): string | undefined {
  const counted = topic.replace(basicIngest, '');
  if (Buffer.byteLength(counted) > mqttLimits.topicBytes)
    return `a topic is longer than ${mqttLimits.topicBytes} bytes`;
  if (counted.split('/').length - 1 > mqttLimits.topicSlashes)
    return `a topic has more than ${mqttLimits.topicSlashes} slashes`;
  if (topic.startsWith('$') && !reserved[use].some((pattern) => pattern.test(topic)))
    return `${topic.slice(0, 60)} is reserved`;
  return undefined;
}
