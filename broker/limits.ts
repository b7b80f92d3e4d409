/** Limits of one connection, and of all together. Times in milliseconds. */
export const defaultLimits = {
  /** largest packet; aedes has no limit of its own. A request payload above 8 KiB but below this gets its answer */
  maxPacketBytes: 16 * 1024,
  /** of the CONNECT packet: it has a serial, a token and a client id, and comes from a device that has proved nothing yet */
  maxConnectBytes: 2048,
  /** packets of one connection: how many may come at once, and how many a second after that. The broker reads no more until it may */
  packets: { burst: 50, perSecond: 10 },
  verifiedPackets: { burst: 200, perSecond: 50 },
  /**
   * packets of all connections of one address that have not verified their token, beyond the first of each connection: those are
   * enough for a certificate, so thousands of devices may come at once from one address
   */
  packetsOfAddress: { burst: 500, perSecond: 100 },
  packetsFreeOfAddress: 10,
  /** from the first byte of a packet to its last */
  packetMs: 10_000,
  /** connections in total, and of one address; many devices may share one behind a router */
  maxConnections: 10_000,
  maxConnectionsPerAddress: 2000,
  /**
   * connections that have had their turn at the handshake and have not sent their CONNECT yet: TLS holds tens of KB for each. Those
   * that wait for their turn hold a socket and its first bytes, and are bounded by all connections
   */
  maxPending: 4000,
  maxPendingPerAddress: 2000,
  /** connections of one device with its token; a newer one closes the oldest */
  maxConnectionsPerSerial: 16,
  /** requests of one connection that are being taken in, or wait for their answer */
  maxRequestsPerConnection: 8,
  /** requests and acknowledgements of one device, on all its connections, in `messagesPerDeviceSeconds` */
  messagesPerDevice: 100,
  messagesPerDeviceSeconds: 10,
  /** the same of all devices that one claim certificate stands for */
  messagesPerClaim: 1000,
  /** a request by a claim certificate waits no longer: its device may have connected again, and asks anew then. Milliseconds */
  claimWaitMs: 300_000,
  /** acknowledgements, registrations among them, of one device in `acknowledgementsPerDeviceSeconds`: they come before all requests that wait */
  acknowledgementsPerDevice: 10,
  acknowledgementsPerDeviceSeconds: 60,
  /** questions for the time of one connection: how many may come at once, and how many a second after that */
  timeQuestions: { burst: 5, perSecond: 0.1 },
  /** tokens that one connection is remembered to have presented */
  maxTokensPerConnection: 8,
  /** for the PROXY protocol header of a balancer, which sends it with its first packet */
  proxyHeaderMs: 5000,
  /** connections of balancers that have not sent it yet */
  maxWithoutProxyHeader: 1000,
  /** connections of this machine that came when all slots were taken, and have not sent a byte yet: health checks */
  maxWithoutSlot: 16,
  /** for the rest of a ClientHello that comes in several segments, before it takes a turn as it is */
  wholeHelloMs: 1000,
  /** TLS handshakes that are computed at the same time; one that waits for its device gives up its turn after `handshakeTurnMs` */
  maxHandshakes: 32,
  /** of those, how many begin in one turn of the event loop at most: a device costs some 4 ms of a core until its request is stored */
  startsPerTurn: 16,
  /** where turns cost more than this, in milliseconds of CPU, fewer begin: 1 of 100 turns must not take 50 ms */
  turnCpuMs: 25,
  handshakeTurnMs: 250,
  /** for the first byte, and then, from its turn on, for the handshake */
  handshakeMs: 10_000,
  /** for the turn itself: when a whole site comes at once, the last of 10,000 has its turn after some 15 s of a core */
  turnMs: 60_000,
  /**
   * that a client may send before its handshake has ended, where it is asked for a certificate: with the largest ClientHello (2 KB) and RSA
   * signatures, a claim certificate and those of a few CAs are less than half of it
   */
  handshakeBytes: 16 * 1024,
  connectMs: 5000,
  /** a connection whose device reads nothing for so long is cut */
  drainMs: 10_000,
  /** for a device to write one part of a reply to its flash, and acknowledge it */
  partMs: 60_000,
  /** for Redis to store a request; the device waits for its PUBACK meanwhile */
  storeMs: 5000,
  /** longest keep-alive, and that of a client which asks for none, in seconds: a connection that is silent for longer is dead */
  keepaliveSeconds: 600,
};

export type Limits = typeof defaultLimits;

/** The limits of a site whose operator has set how many connections there may be. All those of one address may come at once. */
export function limitsFor({
  maxConnections,
  maxConnectionsPerAddress,
}: Pick<Limits, 'maxConnections' | 'maxConnectionsPerAddress'>): Limits {
  const maxPendingPerAddress = maxConnectionsPerAddress;
  const maxPending = Math.min(maxConnections, 2 * maxPendingPerAddress);
  return { ...defaultLimits, maxConnections, maxConnectionsPerAddress, maxPending, maxPendingPerAddress };
}

/** The keep-alive of a connection that asks for this one, in seconds. One of 0 would let a dead connection stay for ever. */
export function keepaliveFor(asked: number, { keepaliveSeconds }: Pick<Limits, 'keepaliveSeconds'>): number {
  return asked === 0 ? keepaliveSeconds : Math.min(asked, keepaliveSeconds);
}
