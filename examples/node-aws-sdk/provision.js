#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectAws } from './aws.js';
import { connectGateway, whyRefused } from './gateway.js';
import { openStore } from './store.js';

const usage = `Provisions a device at a cvm-gateway by AWS IoT Fleet Provisioning, then uses AWS IoT Core with what it got.

  node provision.js GATEWAY SITE_CA SERIAL TEMPLATE FOLDER [AWS_ENDPOINT AWS_ROOT_CA] < TOKEN_FILE

GATEWAY, AWS_ENDPOINT: host, or host:port (8883). SITE_CA: what \`cvm tls ca\` prints. TEMPLATE: one of \`cvm templates list\`. AWS_ROOT_CA:
Amazon Root CA 1; without these two it ends when it is registered. The registration token comes by stdin. FOLDER gets device.json. Run it again after a failure. Ends with 0 when the device
is registered (and has published to AWS IoT Core), with 1 when the gateway refuses for good, with 2 on wrong use.`;

/** Pauses after failures: up to the first, then up to twice as much each time, up to the last. */
const PAUSE_SECONDS = { first: 5, last: 600 };

const say = (line) => process.stderr.write(`${line}\n`);

async function main(args) {
  if (args.length !== 5 && args.length !== 7) {
    say(usage);
    return 2;
  }
  const [gateway, siteCaFile, serial, template, folder, awsEndpoint, awsRootCaFile] = args;
  const token = (await text(process.stdin)).trim();
  const missing = [siteCaFile, awsRootCaFile].find((file) => file !== undefined && !existsSync(file));
  if (token === '' || missing !== undefined) {
    say(missing === undefined ? 'there is no token on stdin' : `there is no file ${missing}`);
    return 2;
  }
  const store = openStore(folder);

  for (let failures = 0; store.device()?.thingName === undefined; ) {
    const refusal = await provision({ gateway: addressOf(gateway), siteCaFile, serial, token, template, store });
    if (refusal === undefined) break;
    say(refusal.message);
    if (refusal.isFinal) return 1;
    const seconds = refusal.afterSeconds ?? jitter(failures++);
    say(`asking again in ${Math.ceil(seconds)} s`);
    await sleep(seconds * 1000);
  }
  if (awsEndpoint === undefined) return 0;
  await greetAws({ endpoint: addressOf(awsEndpoint), rootCaFile: awsRootCaFile, device: store.device() });
  return 0;
}

/** One connection to the gateway. @returns undefined when the device is registered; otherwise why it is not yet */
async function provision({ gateway, siteCaFile, serial, token, template, store }) {
  const { identity, leave } = connectGateway({ ...gateway, siteCaFile, serial, token, say });
  try {
    if (store.device() === undefined) {
      // until the device is registered, the same certificate and key come again: nothing is lost where this program ends
      const { certificateId, certificatePem, privateKey, certificateOwnershipToken } =
        await identity.createKeysAndCertificate({});
      store.keep({ certificateId, certificatePem, privateKey, certificateOwnershipToken });
    }
    const { certificateOwnershipToken, ...device } = store.device();
    const parameters = { SerialNumber: serial };
    // says to the gateway that the device has stored its certificate: its registration token is spent from now on, also where the answer
    // is lost. So the ownership token is stored: with it the device may ask this again
    const { thingName, deviceConfiguration } = await identity.registerThing({
      ...{ templateName: template, certificateOwnershipToken, parameters },
    });
    store.keep({ ...device, thingName, deviceConfiguration });
    say(`registered as ${thingName}`);
    return undefined;
  } catch (error) {
    const refusal = whyRefused(error);
    if (refusal.errorCode !== 'InvalidCertificateOwnershipToken') return refusal;
    // it ends after an hour; another one comes with the same certificate
    store.forget();
    return { ...refusal, isFinal: false };
  } finally {
    leave();
  }
}

/** The device policy of the gateway gives a device the topics below its own name. */
async function greetAws({ endpoint, rootCaFile, device }) {
  const aws = await connectAws({ ...endpoint, rootCaFile, ...device });
  const echo = await aws.publishAndHear(`${device.thingName}/hello`, { certificateId: device.certificateId });
  say(`AWS IoT Core sent back: ${echo}`);
  await aws.leave();
}

/** Seconds. At random, so that devices that failed together do not come back together. */
const jitter = (failures) =>
  (0.1 + 0.9 * Math.random()) * Math.min(PAUSE_SECONDS.last, PAUSE_SECONDS.first * 2 ** failures);

function addressOf(text) {
  const [hostName, port = '8883'] = text.split(':');
  return { hostName, port: Number(port) };
}

// on Node.js 24, aws-crt 1.33 keeps a program alive that is done
process.exit(await main(process.argv.slice(2)));
