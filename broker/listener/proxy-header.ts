import { type Socket, SocketAddress } from 'node:net';
import { otherThanTls } from './first-bytes.ts';

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
const endedEarly = problemOf('ended in its middle');

/** `address` undefined: that of the peer counts, since the balancer connects for itself, or does not say for whom. */
export type ProxyHeader = { readonly address: string | undefined } | { readonly reason: string };

/**
 * Takes the header off the socket and leaves the bytes after it where TLS finds them. Calls `done` once, unless the
 * connection ends before: without a byte it is a health check.
 * @param waitMs until the whole header must be here
 */
export function readProxyHeader(socket: Socket, waitMs: number, done: (header: ProxyHeader) => void): void {
  let fixed = Buffer.alloc(0);
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
    const more = socket.read(Math.min(socket.readableLength, fixedBytes - fixed.length)) as Buffer | null;
    if (more !== null) fixed = Buffer.concat([fixed, more]);
    if (fixed.length < fixedBytes) return beginsLikeHeader(fixed) ? undefined : absent(fixed);
    const length = lengthOf(fixed);
    if (typeof length !== 'number') return length;
    const following = length === 0 ? Buffer.alloc(0) : (socket.read(length) as Buffer | null);
    if (following === null) return undefined;
    return following.length < length ? endedEarly : addressOf(fixed, following);
  }

  function onReadable(): void {
    // readable without bytes: the other side has ended it. Without any it was a health check
    const ended = socket.readableLength === 0;
    if (ended && fixed.length === 0) socket.destroy();
    const header = ended ? endedEarly : read();
    if (header !== undefined && !socket.destroyed) finish(header);
  }

  socket.on('readable', onReadable).once('close', forget);
}

/**
 * Whether a connection begins with a header, of either version, although no header is expected of its address. A balancer sends
 * the header in one segment; what comes in smaller pieces is left to TLS, which refuses it.
 * @returns for the log: cause and cure; undefined when it does not
 */
export function unexpectedHeader(begin: Buffer, peer: string): string | undefined {
  const version = versionOf(begin);
  if (version === undefined) return undefined;
  return `it begins with a PROXY protocol header, version ${version}, and CVM_PROXY_FROM does not name ${peer}; ${unexpectedCure}`;
}

/** Whether what follows a header is one again. @returns for the log: cause and cure; undefined when it is not */
export function secondHeader(begin: Buffer): string | undefined {
  const version = versionOf(begin);
  if (version === undefined) return undefined;
  return `it has two PROXY protocol headers, the second of version ${version}; where balancers stand one behind the other, let only one of them send the header`;
}

function versionOf(begin: Buffer): 1 | 2 | undefined {
  const begins = (start: Buffer) => begin.subarray(0, start.length).equals(start);
  if (begins(startOfV1)) return 1;
  return begins(signature) ? 2 : undefined;
}

/** @returns how many bytes follow the fixed part; or what is wrong with that part */
function lengthOf(fixed: Buffer): number | { readonly reason: string } {
  const version = versionOf(fixed);
  if (version === undefined) return absent(fixed);
  if (version === 1) return problemOf('has version 1');
  const [command, kind] = [fixed.readUInt8(12), fixed.readUInt8(13)];
  if (command !== local && command !== proxy) return problemOf('has an unknown version or command');
  if (kind >> 4 > lastFamily || (kind & 15) > lastProtocol) return problemOf('has an unknown address family');
  const length = fixed.readUInt16BE(14);
  return length > maxFollowingBytes ? problemOf(`is longer than ${maxFollowingBytes} bytes`) : length;
}

/** Of bytes that are fewer than a header has: whether one may still come of them. */
function beginsLikeHeader(bytes: Buffer): boolean {
  return [startOfV1, signature].some((start) => {
    const length = Math.min(bytes.length, start.length);
    return bytes.subarray(0, length).equals(start.subarray(0, length));
  });
}

const absent = (begin: Buffer) => problemOf(`is absent: it begins with ${otherThanTls(begin) ?? 'TLS'}`);

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
