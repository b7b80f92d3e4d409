#!/usr/bin/env node
import 'reflect-metadata';
import { createPublicKey, webcrypto } from 'node:crypto';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { byPreSharedKey, bySiteCa, connectGateway } from './gateway.js';
import { openStore } from './store.js';

const usage = `Gets a device its AWS IoT certificate from a cvm-gateway: own P-256 key, CSR, request, reply, acknowledgement.

  node provision.js HOST PORT SITE_CA SERIAL FOLDER < TOKEN_FILE
  node provision.js HOST PORT psk SERIAL FOLDER < TOKEN_FILE

SITE_CA: what \`cvm tls ca\` prints; psk: none, by a key that is made of the token. The token comes by stdin, since others can read a command
line. FOLDER gets device.key, device.csr, device.crt, root-ca.pem and endpoint. Run it again after a failure: it keeps its key. Ends with 0 when all is
stored and acknowledged, with 1 when the gateway refuses for good, with 2 on wrong use.`;

/** What this device can stay awake for. With a longer wait ahead it leaves, and comes back. */
const AWAKE_SECONDS = 600;
/** Without any word from the gateway for so long, the device asks again. */
const SILENCE_SECONDS = 30;
/** Pauses after failures: up to the first, then up to twice as much each time, up to the last. */
const PAUSE_SECONDS = { first: 5, last: 600 };

const say = (line) => process.stderr.write(`${line}\n`);

async function main([host, port, siteCa, serial, folder, ...more]) {
  if (folder === undefined || more.length > 0) {
    say(usage);
    return 2;
  }
  const token = (await text(process.stdin)).trim();
  const fault = wrongUse({ port: Number(port), siteCa, token });
  if (fault !== undefined) {
    say(fault);
    return 2;
  }
  const trust = siteCa === 'psk' ? byPreSharedKey(serial, token) : bySiteCa(siteCa);
  const store = openStore(folder);
  const csr = await store.csr((privateKey) => makeCsr(privateKey, serial));
  const connect = () => connectGateway({ host, port: Number(port), serial, token, trust });

  for (let failures = 0; ; ) {
    const { outcome, afterSeconds } = await attempt({ connect, store, csr }).catch((error) => {
      say(`no certificate yet: ${error.message}`);
      return { outcome: 'again' };
    });
    if (outcome !== 'again') return outcome === 'done' ? 0 : 1;
    // what the gateway says is another number for each device already
    const seconds = afterSeconds ?? jitter(failures++);
    if (afterSeconds !== undefined) failures = 0;
    say(`asking again in ${Math.ceil(seconds)} s`);
    await sleep(seconds * 1000);
  }
}

/** What asking again does not mend. */
function wrongUse({ port, siteCa, token }) {
  if (token === '') return 'there is no token on stdin';
  if (!(Number.isInteger(port) && port > 0 && port < 65_536)) return 'PORT must be a number from 1 to 65535';
  return siteCa === 'psk' || existsSync(siteCa) ? undefined : `SITE_CA: there is no file ${siteCa}`;
}

/** One connection. What is stored already is acknowledged once more: that does no harm, and the last one may have been lost. */
async function attempt({ connect, store, csr }) {
  const gateway = await connect();
  try {
    if (store.certificateId() === undefined) {
      const reply = await ask(gateway, csr);
      if (reply === undefined) return { outcome: 'again' };
      if (reply.status === 'pending') return { outcome: 'again', afterSeconds: reply.retryAfter };
      if (reply.status === 'rejected') return refused(reply);
      store.keep(reply);
    }
    await gateway.acknowledge(store.certificateId());
    return { outcome: 'done' };
  } finally {
    await gateway.leave();
  }
}

/** @returns the last word of the gateway: accepted, rejected, or pending for longer than we stay; undefined without any */
async function ask(gateway, csr) {
  await gateway.request({ csr });
  for (let patience = SILENCE_SECONDS; ; ) {
    const reply = await gateway.nextReply(patience * 1000);
    if (reply?.status !== 'pending') return reply;
    const { position, etaSeconds } = reply;
    say(`position ${position} in the line, ${etaSeconds === undefined ? 'unknown for how long' : `${etaSeconds} s`}`);
    if (etaSeconds === undefined || etaSeconds > AWAKE_SECONDS) return reply;
    patience = 2 * etaSeconds + 10;
  }
}

function refused({ errorCode, errorMessage, retryAfter }) {
  say(`${errorCode}: ${errorMessage}`);
  return retryAfter === undefined ? { outcome: 'refused' } : { outcome: 'again', afterSeconds: retryAfter };
}

/** Seconds. At random, so that devices that failed together do not come back together. */
const jitter = (failures) =>
  (0.1 + 0.9 * Math.random()) * Math.min(PAUSE_SECONDS.last, PAUSE_SECONDS.first * 2 ** failures);

/** @returns PEM. The gateway puts the serial into the certificate by itself. */
async function makeCsr(privateKey, serial) {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const { subtle } = webcrypto;
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const keys = {
    privateKey: await subtle.importKey('pkcs8', pkcs8, algorithm, true, ['sign']),
    publicKey: await subtle.importKey('spki', spki, algorithm, true, ['verify']),
  };
  const name = [{ CN: [serial.slice(0, 64)] }];
  const csr = await Pkcs10CertificateRequestGenerator.create({ name, keys, signingAlgorithm: algorithm });
  return csr.toString('pem');
}

process.exitCode = await main(process.argv.slice(2));
