/** What one connection, and all together, may take. Times in milliseconds. */
export const defaultLimits = {
  /** largest packet; aedes has no limit of its own. A request payload above 8 KiB but below this gets its answer */
  maxPacketBytes: 16 * 1024,
  /** of the CONNECT packet: a serial, a token and a client id, and whoever sends it has proved nothing yet */
  maxConnectBytes: 2048,
  /** from the first byte of a packet to its last */
  packetMs: 10_000,
  /** connections in total, and of one address; many devices may share one behind a router */
  maxConnections: 10_000,
  maxConnectionsPerAddress: 2000,
  /** connections that have not come to their CONNECT yet; a device needs its place for a moment */
  maxPending: 1000,
  maxPendingPerAddress: 500,
  /** requests of one connection that are being taken in, or wait for their answer */
  maxRequestsPerConnection: 8,
  /** requests and acknowledgements of one device, on all its connections, in so many seconds */
  messagesPerDevice: 100,
  messagesPerDeviceSeconds: 10,
  /** tokens that one connection is remembered to have presented */
  maxTokensPerConnection: 8,
  /** TLS handshakes that are computed at the same time; one that waits for the other side leaves its place after `handshakeTurnMs` */
  maxHandshakes: 32,
  handshakeTurnMs: 250,
  handshakeMs: 10_000,
  connectMs: 5000,
  /** a reader that takes nothing for so long is cut */
  drainMs: 10_000,
  /** for Redis to store a request; the device waits for its PUBACK meanwhile */
  storeMs: 5000,
  /** keep-alive of a client that wants none, in seconds: a connection that is silent for longer is dead */
  keepaliveSeconds: 600,
};

export type Limits = typeof defaultLimits;
