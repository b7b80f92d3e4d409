const [handshakeRecord, clientHello, supportedVersions, tls13] = [22, 1, 43, 0x0304];

/**
 * What a client offers (RFC 5246 §7.4.1.2, RFC 8446 §4.1.2), as far as it matters before TLS.
 * @returns undefined when the bytes do not begin with a whole ClientHello in one record
 */
export function readClientHello(
  bytes: Buffer,
): { readonly suites: readonly number[]; readonly tls13: boolean } | undefined {
  if (bytes[0] !== handshakeRecord || bytes[5] !== clientHello) return undefined;
  try {
    // record header, message header, version, random; then the session id
    let at = 5 + 4 + 2 + 32;
    at += 1 + bytes.readUInt8(at);
    const suites = numbersIn(bytes, at + 2, bytes.readUInt16BE(at));
    at += 2 + 2 * suites.length;
    at += 1 + bytes.readUInt8(at);
    const end = at + 2 + (at < 5 + bytes.readUInt16BE(3) ? bytes.readUInt16BE(at) : -2);
    for (at += 2; at < end; at += 4 + bytes.readUInt16BE(at + 2))
      if (bytes.readUInt16BE(at) === supportedVersions)
        return { suites, tls13: numbersIn(bytes, at + 5, bytes.readUInt8(at + 4)).includes(tls13) };
    return { suites, tls13: false };
  } catch (error) {
    // a length points behind the last byte
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function numbersIn(bytes: Buffer, at: number, length: number): number[] {
  return Array.from({ length: length >> 1 }, (_, index) => bytes.readUInt16BE(at + 2 * index));
}
