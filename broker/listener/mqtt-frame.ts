/** The offset and length of the body of an MQTT packet. */
export type Frame = { readonly bodyAt: number; readonly length: number };

/**
 * The MQTT packet that begins at `at`: one byte, then the remaining length [MQTT 3.1.1, 2.2.3], then that many bytes.
 * @returns undefined when its header is incomplete; a text when it is malformed
 */
export function frameAt(data: Buffer, at: number): Frame | string | undefined {
  let length = 0;
  for (let count = 0; count < 4; count++) {
    const byte = data[at + 1 + count];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 128 ** count;
    if (byte < 0x80) return { bodyAt: at + 2 + count, length };
  }
  return 'the remaining length is malformed: it has more than 4 bytes';
}
