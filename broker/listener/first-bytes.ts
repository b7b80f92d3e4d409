import type { Socket } from 'node:net';
import { httpCure, isHttpRequest } from './http-clients.ts';

/** The type of a TLS record with a handshake message (RFC 8446 §5.1). */
const handshakeRecord = 0x16;
/** A ClientHello in the form of SSL 2 has this bit in its first byte; old firmware sends it, and may go on with TLS 1.2. */
const ssl2Bit = 0x80;
/** The first byte of an MQTT CONNECT [MQTT-3.1.1]. */
const mqttConnect = 0x10;

/** What has arrived so far. The bytes stay where TLS finds them. */
export function peek(socket: Socket): Buffer {
  // with the length: without it, Node.js 26 gives the first segment only
  const begin = socket.readableLength === 0 ? null : (socket.read(socket.readableLength) as Buffer | null);
  if (begin === null) return Buffer.alloc(0);
  socket.unshift(begin);
  return begin;
}

/** @returns how many bytes the first TLS record has, as far as its header is there; 0 for what is none */
function firstRecordBytes(begin: Buffer): number {
  if (begin[0] !== handshakeRecord) return 0;
  return begin.length < 5 ? 5 : 5 + begin.readUInt16BE(3);
}

/** What the operator does about a client that speaks something else than TLS. */
const cures = {
  'plain MQTT': 'turn TLS on in its MQTT client',
  'plain HTTP': httpCure,
  'something else than TLS': 'check the address and the port that it was given',
};

/** @returns what begins in this way, for the log; undefined when it may be TLS */
export function otherThanTls(begin: Buffer): keyof typeof cures | undefined {
  const [first = handshakeRecord] = begin;
  if (first === handshakeRecord || (first & ssl2Bit) !== 0) return undefined;
  if (first === mqttConnect) return 'plain MQTT';
  return isHttpRequest(begin) ? 'plain HTTP' : 'something else than TLS';
}

/** @returns cause and cure, for the log; undefined when it may be TLS */
export function whyNotTls(begin: Buffer): string | undefined {
  const other = otherThanTls(begin);
  return other && `it is ${other}: this port takes MQTT over TLS only; ${cures[other]}`;
}

/** The bytes stay where TLS finds them: Node gives it what a socket has read before. */
export function onFirstBytes(socket: Socket, then: () => void): void {
  // what came together with a PROXY protocol header is not announced again
  if (socket.readableLength > 0) {
    then();
    return;
  }
  socket.once('readable', () => {
    // readable without bytes: the other side has ended it
    if (socket.readableLength === 0) socket.destroy();
    else then();
  });
}

/**
 * A ClientHello may come in several segments, and its suites decide who takes the connection: waits for all of it, `ms` at most.
 * TLS has the time limit for the rest. @param then gets what has arrived
 */
export function onWholeRecord(socket: Socket, ms: number, then: (begin: Buffer) => void): void {
  const begin = peek(socket);
  let needed = firstRecordBytes(begin);
  const isWhole = () => {
    // looking puts the bytes back, which is announced as new ones: so not each time
    if (needed === 5 && socket.readableLength >= 5) needed = firstRecordBytes(peek(socket));
    return socket.readableLength >= needed;
  };
  if (begin.length >= needed) {
    then(begin);
    return;
  }
  const end = () => {
    clearTimeout(timer);
    socket.removeListener('readable', look);
    then(peek(socket));
  };
  const look = () => {
    if (isWhole()) end();
  };
  const timer = setTimeout(end, ms).unref();
  socket.on('readable', look);
}
