import type { Socket } from 'node:net';
import type { Server } from 'node:tls';
import type { Limits } from '../limits.ts';
import type { ConnectionSlot } from './admission.ts';
import { onFirstBytes, onWholeRecord } from './first-bytes.ts';
import type { HandshakeLimiter } from './handshake-limiter.ts';

const tooLate = 'it waited too long for its turn at the TLS handshake: more devices came than this machine can serve';

/**
 * Hands a socket to TLS when it is its turn. A turn begins with the first bytes, not with TCP: connections that say nothing
 * would take the turns of those that do.
 * @returns gives the turn back, or the place in the line
 */
export function takeTurn(
  socket: Socket,
  limits: Pick<Limits, 'handshakeMs' | 'handshakeTurnMs' | 'turnMs' | 'wholeHelloMs'>,
  {
    limiter,
    slot,
    onBegin,
    handOver,
    onTooLate,
  }: {
    readonly limiter: HandshakeLimiter;
    readonly slot: Pick<ConnectionSlot, 'address' | 'begun'>;
    /** sees the first bytes, and may destroy the socket. @returns what takes it when it is its turn */
    onBegin(begin: Buffer): Server;
    handOver(taker: Server, socket: Socket): void;
    /** its turn did not come in time */
    onTooLate(reason: string): void;
  },
): () => void {
  let giveBack = () => {};
  // TLS has a time limit of its own, which begins with the turn
  let patience = setTimeout(() => socket.destroy(), limits.handshakeMs).unref();
  const begin = (bytes: Buffer) => {
    if (socket.destroyed) return;
    const taker = onBegin(bytes);
    if (socket.destroyed) return;
    patience = setTimeout(() => onTooLate(tooLate), limits.turnMs).unref();
    giveBack = limiter.acquire(slot.address, () => {
      clearTimeout(patience);
      // a destroyed socket is cleaned up by its `close` handler
      if (socket.destroyed) return;
      slot.begun();
      setTimeout(() => giveBack(), limits.handshakeTurnMs).unref();
      handOver(taker, socket);
    });
  };
  onFirstBytes(socket, () => {
    clearTimeout(patience);
    onWholeRecord(socket, limits.wholeHelloMs, begin);
  });
  return () => {
    clearTimeout(patience);
    giveBack();
  };
}
