const [handshakeRecord, clientHello, tls13] = [22, 1, 0x0304];
const [applicationProtocols, supportedVersions, preSharedKey] = [16, 43, 41];

/** What a client offers. */
export type ClientHello = {
  readonly suites: readonly number[];
  readonly tls13: boolean;
  /** of pre-shared keys and of session tickets, in TLS 1.3 */
  readonly identities: readonly string[];
  /** of ALPN */
  readonly protocols: readonly string[];
};

/**
 * What a client offers (RFC 5246 §7.4.1.2, RFC 8446 §4.1.2), as far as it matters before TLS.
 * @returns undefined when the bytes do not begin with a whole ClientHello in one record
 */
export function readClientHello(bytes: Buffer): ClientHello | undefined {
  if (bytes[0] !== handshakeRecord || bytes[5] !== clientHello) return undefined;
  try {
    // record header, message header, version, random; then the session id
    let at = 5 + 4 + 2 + 32;
    at += 1 + bytes.readUInt8(at);
    const suites = numbersIn(bytes, at + 2, bytes.readUInt16BE(at));
    at += 2 + 2 * suites.length;
    at += 1 + bytes.readUInt8(at);
    let hello: ClientHello = { suites, tls13: false, identities: [], protocols: [] };
    const end = at + 2 + (at < 5 + bytes.readUInt16BE(3) ? bytes.readUInt16BE(at) : -2);
    for (at += 2; at < end; at += 4 + bytes.readUInt16BE(at + 2)) {
      const type = bytes.readUInt16BE(at);
      if (type === supportedVersions)
        hello = { ...hello, tls13: numbersIn(bytes, at + 5, bytes.readUInt8(at + 4)).includes(tls13) };
      if (type === applicationProtocols) hello = { ...hello, protocols: protocolsIn(bytes, at + 4) };
      if (type === preSharedKey) hello = { ...hello, identities: identitiesIn(bytes, at + 4) };
    }
    return at > bytes.length ? undefined : hello;
  } catch (error) {
    // a length points behind the last byte
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function numbersIn(bytes: Buffer, at: number, length: number): number[] {
  return Array.from({ length: length >> 1 }, (_, index) => bytes.readUInt16BE(at + 2 * index));
}

/** Each with its length before it (RFC 7301 §3.1). */
function protocolsIn(bytes: Buffer, begin: number): string[] {
  const protocols: string[] = [];
  const end = begin + 2 + bytes.readUInt16BE(begin);
  for (let at = begin + 2; at < end; ) {
    const next = at + 1 + bytes.readUInt8(at);
    protocols.push(bytes.toString('latin1', at + 1, next));
    at = next;
  }
  return protocols;
}

/** Each with its length before it, and its age after it (RFC 8446 §4.2.11). */
function identitiesIn(bytes: Buffer, begin: number): string[] {
  const identities: string[] = [];
  const end = begin + 2 + bytes.readUInt16BE(begin);
  for (let at = begin + 2; at < end; ) {
    const next = at + 2 + bytes.readUInt16BE(at);
    identities.push(bytes.toString('latin1', at + 2, next));
    at = next + 4;
  }
  return identities;
}
