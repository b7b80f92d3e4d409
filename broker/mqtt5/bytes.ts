/** A length-prefixed field. Bytes are not copied. */
export function field(value: string | Buffer): readonly Buffer[] {
  const raw = typeof value === 'string' ? Buffer.from(value) : value;
  return [uint16(raw.length), raw];
}

export const uint16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);

/** [MQTT 5, 1.5.5] */
export function variable(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    bytes.push((left % 128) + (left >= 128 ? 128 : 0));
    if (left < 128) return Buffer.from(bytes);
  }
}

/** An MQTT control packet. @param parts its body */
export function packetOf(header: number, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([header]), variable(length), ...parts]);
}
