import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import type { ReferenceOrder } from './tls-reference.ts';

const [{ certificatePem, keyPem }] = (await once(process, 'message')) as [ReferenceOrder];
process.once('disconnect', () => process.exit());
const server = createServer({ cert: certificatePem, key: keyPem }, (socket) => {
  socket.on('error', () => {}).resume();
});
server.on('tlsClientError', () => {});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
