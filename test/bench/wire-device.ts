import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { generate, type Packet, parser } from 'mqtt-packet';

/** A device on OpenSSL that offers what firmware does: one suite, one curve, one signature, no tickets. */
export type WireTls = {
  readonly version: 'TLSv1.2' | 'TLSv1.3';
  readonly suite: string;
  /** PEM; or the key that stands in its place */
  readonly ca?: string;
  readonly psk?: { readonly identity: string; readonly psk: Buffer };
};

export type WireDevice = {
  /** Packets of one call go out in one TLS record. */
  send(...packets: Packet[]): void;
  /** The next packet of this kind; later ones stay. */
  next<C extends Packet['cmd']>(cmd: C): Promise<Packet & { cmd: C }>;
  /** bytes of MQTT, both ways */
  readonly mqttBytes: () => number;
  /** Ends the connection and waits until both sides have. */
  leave(): Promise<void>;
};

const answerMs = 30_000;
/** SSL_OP_NO_TICKET: firmware resumes nothing, and so offers no place for a ticket. */
const noTicket = 0x4000;

function optionsOf({ version, suite, ca, psk }: WireTls): ConnectionOptions {
  const common: ConnectionOptions = {
    minVersion: version,
    maxVersion: version,
    ciphers: suite,
    ecdhCurve: 'prime256v1',
    sigalgs: 'ecdsa_secp256r1_sha256',
    secureOptions: noTicket,
  };
  if (psk === undefined) return { ...common, servername: 'localhost', ca };
  return {
    ...common,
    pskCallback: () => ({ ...psk, psk: Buffer.from(psk.psk) }),
    checkServerIdentity: () => undefined,
  };
}

/** @param protocolVersion of MQTT: 4 is 3.1.1 */
export async function connectWireDevice(port: number, tls: WireTls, protocolVersion: 4 | 5): Promise<WireDevice> {
  const socket: TLSSocket = connect({ port, host: '127.0.0.1', ...optionsOf(tls) });
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => {});
  const heard: Packet[] = [];
  let [bytes, wake] = [0, () => {}];
  const reader = parser({ protocolVersion }).on('packet', (packet) => {
    heard.push(packet);
    wake();
  });
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    reader.parse(chunk);
  });

  async function next<C extends Packet['cmd']>(cmd: C): Promise<Packet & { cmd: C }> {
    for (const end = Date.now() + answerMs; Date.now() < end; ) {
      const at = heard.findIndex((packet) => packet.cmd === cmd);
      const [found] = at < 0 ? [] : heard.splice(at, 1);
      if (found !== undefined) return found as Packet & { cmd: C };
      if (socket.closed) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, 100);
      });
    }
    throw new Error(`no ${cmd} came`);
  }

  return {
    next,
    mqttBytes: () => bytes,
    send(...packets) {
      const written = Buffer.concat(packets.map((packet) => generate(packet, { protocolVersion })));
      bytes += written.length;
      socket.write(written);
    },
    async leave() {
      socket.end();
      await closed;
    },
  };
}
