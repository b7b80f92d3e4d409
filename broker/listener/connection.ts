import type { Mqtt5 } from '../mqtt5/mqtt5.ts';
import type { ConnectionSlot } from './admission.ts';
import type { ClaimOffer } from './claim.ts';
import type { FrameGuard } from './frame-guard.ts';
import type { PskOffering } from './keyless-clients.ts';
import type { PacketPace } from './packet-pace.ts';
import type { PskIdentity, PskOffer } from './psk.ts';

/** One connection of a device, from TCP accept to its close. The only object that knows it by more than one of its parts. */
export class Connection {
  /** for log and audit; readable after the socket has gone */
  readonly remoteAddress: string;
  /** what limits count it under: an IPv4 address, or the /64 of an IPv6 address */
  readonly address: string;
  readonly slot: ConnectionSlot;
  /** of its packets: faster once its token is verified, and as long as that is current */
  readonly pace: Pick<PacketPace, 'take' | 'wait' | 'stop' | 'verified' | 'unverified'>;
  readonly handshake: Handshake;
  /** the device that the finished TLS handshake authenticated by pre-shared key; undefined after one by certificate */
  psk: PskIdentity | undefined;
  /** the client certificate that it showed, where claim certificates are taken */
  claim: ClaimOffer | undefined;
  /** why a handshake went by certificate although the device may have a key; for the device and the log */
  keyUnused: KeyUnused | undefined;
  /** from its CONNECT on */
  session: { readonly serial: string | undefined; readonly proven: boolean } | undefined;
  /** its packets, from the end of its TLS handshake on */
  packets: Pick<FrameGuard, 'connected' | 'farewell' | 'mqtt5'> | undefined;

  constructor({
    remoteAddress,
    slot,
    pace,
    psk,
  }: Pick<Connection, 'remoteAddress' | 'slot' | 'pace'> & Partial<Pick<Connection, 'psk'>>) {
    this.remoteAddress = remoteAddress;
    this.address = slot.address;
    this.slot = slot;
    this.pace = pace;
    this.handshake = { named: 0, offered: undefined, release: nothingToRelease };
    this.psk = psk;
    this.claim = undefined;
    this.keyUnused = undefined;
    this.session = undefined;
    this.packets = undefined;
  }

  /** that it speaks for, as far as it has named one */
  get serial(): string | undefined {
    return (this.session ?? this.psk)?.serial;
  }

  /** whether it has proved the token of its serial */
  get proven(): boolean {
    return this.session?.proven ?? this.psk !== undefined;
  }

  /** largest packet that its client takes, in bytes, where it speaks MQTT 5 and says so */
  get maxPacket(): number | undefined {
    return this.mqtt5?.maxPacketBytes;
  }

  /** CONNECT is answered: lets through what the device sent after it */
  connected(): void {
    this.packets?.connected();
  }

  /** what MQTT 5 adds, where the client speaks it */
  get mqtt5(): Mqtt5 | undefined {
    return this.packets?.mqtt5;
  }

  /** Says why the connection is about to end, where the client's version of MQTT has a packet for it (5). Ends nothing by itself. */
  farewell(code: number, reason: string): void {
    this.packets?.farewell(code, reason);
  }

  /** Gives its turn back to the handshake limiter, and keeps nothing of the handshake that costs memory. */
  endHandshake(): void {
    const { release } = this.handshake;
    this.handshake.release = nothingToRelease;
    release();
  }
}

const nothingToRelease = (): void => {};

/** `connectAgain`: one of the next handshakes will use it. */
export type KeyUnused = { readonly reason: string; readonly connectAgain: boolean };

/** The part of a connection that only matters until its TLS handshake has ended. */
export type Handshake = PskOffer & {
  /** gives its turn back to the handshake limiter */
  release(): void;
  /** when its first bytes came, by the clock of `performance.now()` */
  begunAt?: number;
  /** it says by ALPN that it speaks HTTP */
  offersHttp?: boolean;
  /** set when a suite by pre-shared key is chosen for it, although it may have no key */
  pskOffering?: PskOffering | undefined;
  /** an earlier one of the same address and kind seemed to have no key, so no suite by pre-shared key is on offer to it */
  withoutPsk?: boolean;
};

const connectionKey = Symbol('connection');

/** @returns the same stream, which `connectionOf` knows from now on */
export function attachConnection<Stream extends object>(stream: Stream, connection: Connection): Stream {
  return Object.assign(stream, { [connectionKey]: connection });
}

/** The connection that a stream of MQTT packets belongs to. aedes hands the stream out as `client.conn`. @throws for another stream */
export function connectionOf(stream: object): Connection {
  const connection = knownConnectionOf(stream);
  if (connection === undefined) throw new Error('this stream does not come from the device listener');
  return connection;
}

/** As `connectionOf`, and undefined for another stream: for what must not fail. */
export function knownConnectionOf(stream: object): Connection | undefined {
  return (stream as { [connectionKey]?: Connection })[connectionKey];
}
