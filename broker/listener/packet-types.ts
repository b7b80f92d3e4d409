/** Types of MQTT packets [MQTT 3.1.1, 2.2.1]: the upper four bits of their first byte. */
export const types = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  /** of MQTT 5 only */
  auth: 15,
} as const;

/** As the standard writes them; by their numbers. */
const names: ReadonlyMap<number, string> = new Map(
  Object.entries(types).map(([name, type]) => [type, name.toUpperCase()]),
);

/** What a packet of this type is called in a reason. */
export const nameOfType = (type: number): string => names.get(type) ?? `a packet of type ${type}`;

/** Fixed header flags of packets of a client [MQTT-2.2.2-1]. Those of PUBLISH have a meaning. */
export const flagsOf: Readonly<Record<number, number>> = {
  [types.connect]: 0,
  [types.puback]: 0,
  [types.pubrec]: 0,
  [types.pubrel]: 2,
  [types.pubcomp]: 0,
  [types.subscribe]: 2,
  [types.unsubscribe]: 2,
  [types.pingreq]: 0,
  [types.disconnect]: 0,
};

/** Of the first byte of a PUBLISH. */
export const qosOf = (header: number): number => (header >> 1) & 3;
