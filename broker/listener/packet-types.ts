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
} as const;

/** Of the first byte of a PUBLISH. */
export const qosOf = (header: number): number => (header >> 1) & 3;
