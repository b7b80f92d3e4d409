import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Server, TLSSocket } from 'node:tls';

/** As `code` of the error that ends a handshake. */
export const handshakeTooLong = 'HANDSHAKE_TOO_LONG';

/** Cause and cure, for the log. */
export const tooLong =
  'it sent more bytes than a TLS handshake with a claim certificate has, and its chain of certificates was not looked at: let it show its claim certificate without those of CAs, or none';

/**
 * Limits the bytes that a client may send in its TLS handshake. OpenSSL verifies every certificate of a client before the client has proved
 * anything, and takes chains of 100 KB; Node.js has no setting for that. TLS reads from a plain socket itself, so this stream stands between
 * the socket and TLS and counts. That costs memory and CPU on each connection, so only listeners that ask for a client certificate use it.
 *
 * A device may send its CONNECT and more right behind the last bytes of its handshake. Bytes beyond the limit therefore wait: TLS first reads
 * those before them, and they follow when the handshake has ended.
 */
class BoundedHandshake extends Duplex {
  readonly socket: Socket;
  /** bytes that TLS may still get; undefined when the handshake has ended */
  #left: number | undefined;
  /** beyond the limit */
  #held: Buffer | undefined;

  /** @param most bytes of the client until its handshake has ended */
  constructor(socket: Socket, most: number) {
    super({ allowHalfOpen: false });
    this.socket = socket;
    this.#left = most;
    socket
      .on('data', (bytes: Buffer) => this.#take(bytes))
      .on('end', () => this.push(null))
      .on('error', (error) => this.destroy(error))
      .on('close', () => this.destroy())
      .resume();
  }

  handshakeEnded(): void {
    this.#left = undefined;
  }

  #take(bytes: Buffer): void {
    if (this.#left === undefined) {
      this.#pass(bytes);
      return;
    }
    if (bytes.length <= this.#left) {
      this.#left -= bytes.length;
      this.#pass(bytes);
      return;
    }
    this.socket.pause();
    const fitting = bytes.subarray(0, this.#left);
    this.#held = bytes.subarray(this.#left);
    this.#left = 0;
    // the handshake may end meanwhile
    if (fitting.length > 0) this.#pass(fitting);
    setImmediate(() => this.#release());
  }

  /** TLS has seen all before what is held back. */
  #release(): void {
    if (this.destroyed || this.#held === undefined) return;
    if (this.#left !== undefined) {
      this.destroy(Object.assign(new Error('the TLS handshake is too long'), { code: handshakeTooLong }));
      return;
    }
    const held = this.#held;
    this.#held = undefined;
    if (this.#pass(held)) this.socket.resume();
  }

  #pass(bytes: Buffer): boolean {
    const more = this.push(bytes);
    if (!more) this.socket.pause();
    return more;
  }

  override _read(): void {
    if (this.#held === undefined) this.socket.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.socket.write(bytes, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.socket.destroy();
    done(error);
  }
}

/**
 * Has TLS take a socket over. A TLSSocket knows the server that has made it, and nothing of the stream below; so each gets a server of its
 * own, which has all from the one that is given.
 * @param most bytes of the client until its handshake has ended
 */
export function handOverBounded(server: Server, socket: Socket, most: number): void {
  const own = Object.create(server) as Server & { bounded?: BoundedHandshake };
  own.bounded = new BoundedHandshake(socket, most);
  own.emit('connection', own.bounded);
}

/** @returns undefined where TLS stands on the socket itself */
export function boundedBelow(socket: TLSSocket): BoundedHandshake | undefined {
  return (socket as { server?: { bounded?: BoundedHandshake } }).server?.bounded;
}
