import type { ClientHello } from './client-hello.ts';

/*
 * Clients that speak HTTP at the port of the devices: a browser, a health check, a scanner, or firmware that is set to MQTT over
 * WebSocket. None of them gets anywhere, with or without TLS; the log says so, and not what TLS or MQTT lacks.
 */

const request = /^(GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT|PATCH|TRACE|PRI) /;

/** Whether the first bytes are those of an HTTP request (RFC 9112 §3, RFC 9113 §3.4). */
export const isHttpRequest = (begin: Buffer): boolean => request.test(begin.toString('latin1', 0, 16));

/** Whether a client says by ALPN that it speaks HTTP (RFC 7301 §6), and does not say that it speaks MQTT. */
export const offersHttp = ({ protocols }: ClientHello): boolean =>
  protocols.some((name) => /^(h2|http\/)/.test(name)) && !protocols.some((name) => name.includes('mqtt'));

/** What the operator does about such a client. */
export const httpCure =
  'devices must use MQTT over TLS, not over WebSocket; a health check must open a TCP connection, or run `cvm health`';

/** The reason for the log, where TLS was spoken. */
export const isHttps = `it is HTTPS: this port takes MQTT over TLS only; ${httpCure}`;
