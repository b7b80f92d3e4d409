import { type LookupAddress, lookup } from 'node:dns';
import { isIP, connect as tcpConnect } from 'node:net';
import {
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls';

export type Gateway = { readonly host: string; readonly port: number; readonly caPem: string };

/** The gateway, as all devices of a run share it: one context for each way to do TLS, one look-up of the name. */
export type Target = {
  readonly host: string;
  readonly port: number;
  readonly byCertificate: SecureContext;
  readonly byKey: SecureContext;
  /** how many addresses of this machine (127.x.y.z) the devices come from */
  readonly addresses: number;
  /** the gateway's addresses; after the first connection the one that answered */
  known: LookupAddress[] | undefined;
  /** the gateway's certificates as they were read once, by their SHA-256 */
  readonly certificates: Map<string, PeerCertificate>;
};

/** What a link tells its device. `broken` comes once, also where the device ended it. */
export type LinkEvents = {
  secured(): void;
  received(bytes: Buffer): void;
  broken(error: Error | undefined): void;
  /** TCP is connected, and TLS waits for `startTls` */
  connected(): void;
};

export type Link = { write(bytes: Buffer): unknown; cork(): void; uncork(): void };

type Owned = { owner: LinkEvents; target: Target; failure?: Error };
type OwnedSocket = TLSSocket & Owned;
type OwnedTcp = ReturnType<typeof tcpConnect> & Owned;

/** @param caPem signed the gateway's certificate; a device with a pre-shared key needs none */
export function openTarget({ host, port, caPem }: Gateway, addresses = 1): Target {
  return {
    host,
    port,
    byCertificate: createSecureContext({ ca: caPem }),
    // the suite whose hash goes with the key (RFC 8446 §4.2.11); then TLS 1.2's with forward secrecy
    byKey: createSecureContext({ ca: caPem, ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-PSK-CHACHA20-POLY1305' }),
    addresses,
    known: undefined,
    certificates: new Map(),
  };
}

/** Leaves: the device hears nothing of this link any more. */
export function dropLink(link: Link, lastBytes?: Buffer): void {
  const socket = link as OwnedSocket;
  socket.owner = noOwner;
  if (lastBytes === undefined) socket.destroy();
  else {
    socket.write(lastBytes);
    socket.destroySoon();
  }
}

const noOwner: LinkEvents = { secured() {}, received() {}, broken() {}, connected() {} };

export type PskIdentity = { readonly identity: string; readonly psk: Buffer };

/** Connects by TLS. @param psk the key to show, instead of verifying a certificate @param number of the device: picks its address */
export function openLink(target: Target, number: number, owner: LinkEvents, psk?: PskIdentity): Link {
  return own(tlsConnect({ ...tcpOptions(target, number), ...tlsOptions(target, psk) }), target, owner);
}

/** Connects by TCP only, for a device that lets the gateway wait for its handshake. */
export function openSlowLink(target: Target, number: number, owner: LinkEvents): Link {
  const socket = Object.assign(tcpConnect(tcpOptions(target, number)), { owner, target }) as OwnedTcp;
  return socket.on('connect', onTcpConnect).on('error', onError).on('close', onClose);
}

/** Goes on with TLS on a link of `openSlowLink`. */
export function startTls(slow: Link, owner: LinkEvents, psk?: PskIdentity): Link {
  const socket = slow as OwnedTcp;
  // from here on the TLS socket tells of its end
  socket.off('close', onClose).off('error', onError);
  return own(tlsConnect({ socket, ...tlsOptions(socket.target, psk) }), socket.target, owner);
}

function own(plain: TLSSocket, target: Target, owner: LinkEvents): Link {
  const socket = Object.assign(plain, { owner, target, getPeerCertificate: readCertificateOnce }) as OwnedSocket;
  return socket
    .on('secureConnect', onSecure)
    .on('data', onData)
    .on('error', onError)
    .on('end', onEnd)
    .on('close', onClose);
}

function tcpOptions(target: Target, number: number) {
  const { host, port } = target;
  return {
    host,
    port,
    noDelay: true,
    lookup: isIP(host) === 0 ? lookupOf(target) : undefined,
    ...(target.addresses === 1 ? {} : { localAddress: loopbackAddress(number % target.addresses), family: 4 }),
  };
}

/**
 * Node.js reads the gateway's certificate for each connection, to compare its names, and takes 0.7 ms for it: here that is done once for each
 * certificate. That OpenSSL verifies the chain for each connection is not changed by it.
 */
function readCertificateOnce(this: OwnedSocket): PeerCertificate {
  const { certificates } = this.target;
  const certificate = this.getPeerX509Certificate();
  // with a pre-shared key there is none
  if (certificate === undefined) return {} as PeerCertificate;
  const digest = certificate.fingerprint256;
  const read = certificates.get(digest) ?? certificate.toLegacyObject();
  if (certificates.size < maxCertificates) certificates.set(digest, read);
  return read;
}

/** Of the brokers behind one name; more are read each time. */
const maxCertificates = 100;

/** An address has no place in SNI (RFC 6066 section 3); the certificate is compared with the host in any case. */
function tlsOptions({ host, byCertificate, byKey }: Target, psk: PskIdentity | undefined) {
  const name = isIP(host) === 0 ? { servername: host } : {};
  if (psk === undefined) return { ...name, host, secureContext: byCertificate };
  return { ...name, host, secureContext: byKey, pskCallback: () => psk, checkServerIdentity: refuseCertificate };
}

/** Only a gateway that knows the key can end such a handshake without a certificate. */
function refuseCertificate(_host: string, certificate: PeerCertificate): Error | undefined {
  return certificate?.raw === undefined
    ? undefined
    : new Error('the gateway answered the pre-shared key with a certificate: it does not know the key');
}

/** 127.1.0.1, 127.1.0.2, … */
function loopbackAddress(number: number): string {
  return `127.1.${Math.floor(number / 254) % 256}.${(number % 254) + 1}`;
}

const lookups = new WeakMap<Target, typeof lookup>();

/** Asks the system once, and not for each connection. */
function lookupOf(target: Target): typeof lookup {
  let cached = lookups.get(target);
  if (cached === undefined) {
    cached = lookupOnce(target) as typeof lookup;
    lookups.set(target, cached);
  }
  return cached;
}

type LookupCallback = (error: Error | null, address: string | LookupAddress[], family?: number) => void;

function lookupOnce(target: Target) {
  return (host: string, options: { all?: boolean; family?: number }, done: LookupCallback): void => {
    const answer = (all: readonly LookupAddress[]) => {
      const fitting = all.filter(({ family }) => !options.family || family === options.family);
      const [first] = fitting;
      if (first === undefined) done(new Error(`${host} has no address of the family that is needed`), '');
      else if (options.all) done(null, fitting);
      else done(null, first.address, first.family);
    };
    const { known } = target;
    if (known !== undefined) {
      // in the next turn: where no file or port is left, the system refuses at once, before tls.connect has returned what the error is heard on
      process.nextTick(() => answer(known));
      return;
    }
    lookup(host, { all: true }, (error, found) => {
      if (error) {
        done(error, '');
        return;
      }
      target.known ??= found;
      answer(target.known);
    });
  };
}

function onTcpConnect(this: OwnedTcp): void {
  this.owner.connected();
}

function onSecure(this: OwnedSocket): void {
  const { remoteAddress, remoteFamily, target } = this;
  if (remoteAddress !== undefined && target.known !== undefined && target.known.length > 1)
    target.known = [{ address: remoteAddress, family: remoteFamily === 'IPv6' ? 6 : 4 }];
  this.owner.secured();
}

function onData(this: OwnedSocket, bytes: Buffer): void {
  this.owner.received(bytes);
}

function onError(this: Owned, error: Error): void {
  this.failure = error;
}

/** The gateway says nothing more, so there is nothing left to wait for. */
function onEnd(this: OwnedSocket): void {
  this.destroy();
}

function onClose(this: Owned): void {
  this.owner.broken(this.failure);
}
