import { BlockList, isIPv6, type Socket, SocketAddress } from 'node:net';

/*
 * PROXY protocol version 2: a TCP balancer says, before anything else, which address a connection comes from.
 * https://www.haproxy.org/download/2.4/doc/proxy-protocol.txt, section 2.2
 */

/** Signature (12 bytes), version and command, family and protocol, length of what follows (2 bytes). */
const fixedBytes = 16;
const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const startOfV1 = Buffer.from('PROXY ', 'latin1');
const [local, proxy] = [0x20, 0x21];

/** Addresses, then fields that we have no use for. Longer than any balancer sends, a client certificate's name included. */
const maxFollowingBytes = 2048;

/** Length of the address block by family, and of one address in it: source, destination, and their ports. */
const families: Readonly<Record<number, { readonly block: number; readonly address: number }>> = {
  1: { block: 12, address: 4 },
  2: { block: 36, address: 16 },
};
const [lastFamily, lastProtocol] = [3, 2];

const cure =
  'let the balancer send version 2 (HAProxy: send-proxy-v2, with check-send-proxy for its health checks), or take its address out of CVM_PROXY_FROM';
const unexpectedCure =
  'if that is your balancer, name this address, or its network, in CVM_PROXY_FROM, and let it send version 2 (HAProxy: send-proxy-v2); or let it send no header';
const problemOf = (what: string) => ({ reason: `the PROXY protocol header of a balancer ${what}; ${cure}` });

export type ProxyPeers = { has(address: string): boolean };

/** @param peers IPv4 and IPv6 addresses, and networks in CIDR notation */
export function proxyPeers(peers: readonly string[]): ProxyPeers {
  const list = new BlockList();
  for (const peer of peers) {
    const [address = '', prefix] = peer.split('/');
    const family = familyOf(address);
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return { has: (address) => list.check(address, familyOf(address)) };
}

const familyOf = (address: string) => (isIPv6(address) ? 'ipv6' : 'ipv4');

/** `address` undefined: that of the peer counts, since the balancer connects for itself, or does not say for whom. */
export type ProxyHeader = { readonly address: string | undefined } | { readonly reason: string };

/**
 * Takes the header off the socket and leaves the bytes after it where TLS finds them. Calls `done` once, unless the
 * connection ends before: without a byte it is a health check.
 * @param waitMs until the whole header must be here
 */
export function readProxyHeader(socket: Socket, waitMs: number, done: (header: ProxyHeader) => void): void {
  let fixed: Buffer | null = null;
  const late = setTimeout(() => finish(problemOf(`did not come within ${waitMs} ms`)), waitMs).unref();

  function finish(header: ProxyHeader): void {
    clearTimeout(late);
    socket.off('readable', onReadable).off('close', forget);
    done(header);
  }

  function forget(): void {
    clearTimeout(late);
  }

  /** undefined: more bytes must come */
  function read(): ProxyHeader | undefined {
    fixed ??= socket.read(fixedBytes) as Buffer | null;
    if (fixed === null) return undefined;
    const length = lengthOf(fixed);
    if (typeof length !== 'number') return length;
    const following = length === 0 ? Buffer.alloc(0) : (socket.read(length) as Buffer | null);
    if (following === null) return undefined;
    return following.length < length ? problemOf('ended in its middle') : addressOf(fixed, following);
  }

  function onReadable(): void {
    // readable without bytes: the other side has ended it
    if (socket.readableLength === 0) socket.destroy();
    const header = socket.destroyed ? undefined : read();
    if (header !== undefined) finish(header);
  }

  socket.on('readable', onReadable).once('close', forget);
}

/**
 * Whether a connection begins with a header, of either version, although no header is expected of its address. The bytes stay where TLS finds
 * them. A balancer sends the header in one segment; what comes in smaller pieces is left to TLS, which refuses it.
 * @param socket that has bytes to read
 * @returns for the log: cause and cure; undefined when it does not
 */
export function unexpectedHeader(socket: Socket, peer: string): string | undefined {
  const begin = socket.read() as Buffer | null;
  if (begin === null) return undefined;
  socket.unshift(begin);
  const version = [startOfV1, signature].findIndex((start) => begin.subarray(0, start.length).equals(start)) + 1;
  if (version === 0) return undefined;
  return `it begins with a PROXY protocol header, version ${version}, and CVM_PROXY_FROM does not name ${peer}; ${unexpectedCure}`;
}

/** @returns how many bytes follow the fixed part; or what is wrong with that part */
function lengthOf(fixed: Buffer): number | { readonly reason: string } {
  if (fixed.subarray(0, startOfV1.length).equals(startOfV1)) return problemOf('has version 1');
  if (fixed.length < fixedBytes || !fixed.subarray(0, signature.length).equals(signature))
    return problemOf('is absent');
  const [command, kind] = [fixed.readUInt8(12), fixed.readUInt8(13)];
  if (command !== local && command !== proxy) return problemOf('has an unknown version or command');
  if (kind >> 4 > lastFamily || (kind & 15) > lastProtocol) return problemOf('has an unknown address family');
  const length = fixed.readUInt16BE(14);
  return length > maxFollowingBytes ? problemOf(`is longer than ${maxFollowingBytes} bytes`) : length;
}

function addressOf(fixed: Buffer, following: Buffer): ProxyHeader {
  // what is neither IPv4 nor IPv6, and a connection of the balancer's own, has no address for us
  const family = fixed.readUInt8(12) === local ? undefined : families[fixed.readUInt8(13) >> 4];
  if (family === undefined) return { address: undefined };
  if (following.length < family.block) return problemOf('is too short for its addresses');
  return { address: textOf(following.subarray(0, family.address)) };
}

function textOf(address: Buffer): string {
  if (address.length === 4) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(2 * index).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}
