const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** Codes of the PROXY protocol: version 2 and command; address family and transport. */
export const [local, proxy] = [0x20, 0x21];
export const [unspecified, tcp4, udp4, tcp6, unix] = [0x00, 0x11, 0x12, 0x21, 0x31];

/** A PROXY protocol header, version 2. `announced`: the length that it says, where that is to be another than the true one */
export function headerOf(command: number, family: number, following: Buffer, announced = following.length): Buffer {
  const fixed = Buffer.from([...signature, command, family, announced >> 8, announced & 255]);
  return Buffer.concat([fixed, following]);
}

const ports = Buffer.from([0xc0, 0x01, 0x22, 0xb3]);

/** Addresses and ports, as they follow the fixed part. */
export const ipv4 = (source: string) =>
  Buffer.concat([Buffer.from(source.split('.').map(Number)), Buffer.from([127, 0, 0, 1]), ports]);

/** @param source 16 bytes in hex */
export const ipv6 = (source: string) => Buffer.concat([Buffer.from(source, 'hex'), Buffer.alloc(16, 1), ports]);

/** A field after the addresses. */
export const tlv = (type: number, value: Buffer) =>
  Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 255]), value]);

export const headerFor = (source: string) => headerOf(proxy, tcp4, ipv4(source));
