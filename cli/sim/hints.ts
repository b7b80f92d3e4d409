/** Where devices connected to, for the cure of what they met. */
export type Place = { readonly host: string; readonly port: number; readonly caFile: string };

type Cure = (place: Place) => string;

/** Cures for reasons that come from the system or from OpenSSL, whose texts name no cure. */
const cures: readonly (readonly [reason: RegExp, cure: Cure])[] = [
  [
    /ECONNREFUSED/,
    ({ host, port }) => `nothing listens at ${host}:${port}: start the gateway, or correct --host and --port`,
  ],
  [
    /ENOTFOUND|EAI_AGAIN/,
    ({ host }) => `the name ${host} is not known here: correct --host, or the resolver of this machine`,
  ],
  [
    /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/,
    ({ host, port }) => `no packet comes back from ${host}:${port}: look at routes and firewalls`,
  ],
  [
    /unable to verify|unable to get (local )?issuer|self-signed|certificate signature failure/,
    ({ caFile }) =>
      `the server's certificate was not signed by the CA in ${caFile}: name the CA of this gateway with --ca (cvm tls ca prints it)`,
  ],
  [
    /altnames|not in the cert's list/,
    ({ host }) =>
      `the server's certificate is not for ${host}: connect by a name that it has (cvm tls show), or add this one to CVM_HOSTNAMES of the gateway`,
  ],
  [
    /certificate (has expired|is not yet valid)/,
    () => 'compare the clock of this machine with the validity of the certificate (cvm tls show)',
  ],
  [
    /wrong version number|packet length too long/,
    ({ host, port }) => `${host}:${port} does not speak TLS: correct --port`,
  ],
  [
    /pre-shared key|unknown psk identity|decrypt error|bad record mac/i,
    () =>
      'the gateway does not know these devices by a pre-shared key: its log says why; a token of another site, or one given away before the gateway was approved, needs cvm devices reissue',
  ],
  [
    /before secure TLS connection|before TLS began|during the TLS handshake|ECONNRESET|EPIPE/,
    ({ host, port }) =>
      `${host}:${port} closed connections before TLS was done: the log of the gateway says why, such as no slot, or a balancer without a PROXY header (CVM_PROXY_FROM)`,
  ],
  [
    /no answer in time/,
    ({ host, port }) =>
      `no answer came in the time that devices have: is a gateway at ${host}:${port}, is its worker running, and does AWS answer it (cvm health --trouble)? Where the line is long, give more --timeout`,
  ],
  [
    /EMFILE|ENFILE/,
    () => 'the simulator may open no more files: raise its limit (ulimit -n), or take fewer with --concurrency',
  ],
  [
    /EADDRNOTAVAIL/,
    () =>
      'this machine has no port left for more connections: take fewer with --concurrency, or more "addresses" in the scenario',
  ],
];

/** @returns undefined where the reason is its own cure, or is not known */
export function cureOfReason(reason: string, place: Place): string | undefined {
  return cures.find(([known]) => known.test(reason))?.[1](place);
}

/** The cures of the most frequent failures, each once. @param reasons how many devices failed for each reason */
export function hints(reasons: Readonly<Record<string, number>>, place: Place): string[] {
  const byCount = Object.entries(reasons).sort(([, a], [, b]) => b - a);
  const found = byCount.flatMap(([reason]) => cureOfReason(reason, place) ?? []);
  return [...new Set(found)].slice(0, 3);
}
