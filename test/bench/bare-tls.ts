import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';

/*
 * The least that a server on Node's TLS can do: it answers the first bytes of a connection with CONNACK, and nothing else. No
 * broker on Node.js can take less.
 * Arguments: port, the folder with the server's certificate and key, a JSON file with identities and keys.
 */

const [port, tls, keyFile = ''] = process.argv.slice(2);
const keys = new Map(JSON.parse(readFileSync(keyFile, 'utf8')) as [string, string][]);
const connack = Buffer.from([0x20, 2, 0, 0]);

createServer(
  {
    key: readFileSync(`${tls}/server.key`),
    cert: readFileSync(`${tls}/server.crt`),
    noDelay: true,
    ciphers: 'TLS_AES_128_GCM_SHA256:PSK-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
    ecdhCurve: 'P-256:X25519',
    pskCallback(_socket, identity) {
      const key = keys.get(identity);
      return key === undefined ? null : Buffer.from(key, 'base64');
    },
  },
  (socket) => {
    socket.on('error', () => {}).once('data', () => socket.write(connack));
    socket.on('data', () => {});
  },
).listen(Number(port), '127.0.0.1');
