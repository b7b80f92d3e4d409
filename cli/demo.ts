import { randomBytes } from 'node:crypto';
import { join, relative } from 'node:path';
import type { MqttClient } from 'mqtt';
import type { App } from '../app/app.ts';
import { keepAudit } from '../app/app.ts';
import { connectOperator } from '../app/operator.ts';
import type { OperatorDeps } from '../operator/deps.ts';
import { enrol } from '../operator/enrol.ts';
import { ackTopic, replyTopic, requestTopic } from '../protocol/cvm/topics.ts';
import { applyStateOf } from '../registry/apply-state.ts';
import type { Devices } from '../registry/devices.ts';
import { counted } from '../runtime/counted.ts';
import { connectOnce } from '../runtime/mqtt-connect.ts';
import type { TlsMaterial } from '../site-tls/material.ts';
import type { LocalAws } from './stand-in.ts';

export type Demo = {
  readonly app: App;
  say(line: string): void;
  readonly port: number;
  readonly tls: TlsMaterial;
  readonly local?: LocalAws;
};

type Accepted = {
  status: 'accepted';
  certificateId: string;
  certificatePem: string;
  privateKey: string;
  thingName: string;
  endpoint: string;
  rootCa: string;
};
type Rejected = { status: 'rejected'; statusCode: number; errorCode: string; errorMessage: string };
type Pending = { status: 'pending'; position: number };

/** How long the demonstration waits for the reply, in milliseconds. */
const replyMs = 60_000;

/** Takes one device through everything on real parts: enrol, request over TLS MQTT, reply, connection to AWS IoT. */
export async function runDemo(demo: Demo, once: boolean): Promise<void> {
  const { say } = demo;
  const operator = connectOperator(demo.app, keepAudit(demo.app, 'cvm'));
  const { registry } = operator;
  const earlier = await countDevices(registry);
  say(
    earlier.all === 0
      ? '\nOne device, from serial number to certificate:\n'
      : `\nFrom earlier starts: ${counted(earlier.all, 'device')}, ${earlier.registered} with a certificate. One more:\n`,
  );

  const device = await enrolDemoDevice(demo, operator);
  say(`  1 enrol     The fleet owner enrols serial ${device.serial}.`);
  say('              Its one-time token is made and shown once; the table keeps only the SHA-256.');
  const credentials = await requestCertificate(demo, device);
  await connectToAws(demo, credentials);

  const row = await registry.find(device.serial);
  say(`\nThe table says: ${device.serial} applyState ${row && applyStateOf(row.state)}, certID ${row?.certificateId}.`);
  if (once) return;
  const second = await enrolDemoDevice(demo, operator);
  say(await invitation(demo, second));
}

async function countDevices(registry: Pick<Devices, 'list'>) {
  const count = { all: 0, registered: 0 };
  for await (const device of registry.list()) {
    count.all++;
    if (device.state === 'registered') count.registered++;
  }
  return count;
}

async function enrolDemoDevice({ app }: Demo, operator: OperatorDeps) {
  const serial = `demo-${randomBytes(3).toString('hex')}`;
  const [device] = (await enrol([{ serial }], operator)).outcomes;
  if (device?.outcome !== 'enrolled') throw new Error(`serial ${serial} is enrolled already`);
  app.log.info({ serial }, 'enrolled');
  return device;
}

async function requestCertificate(
  { say, port, tls }: Demo,
  { serial, token }: { serial: string; token: string },
): Promise<Accepted> {
  const client = await connectOnce({
    host: 'localhost',
    port,
    ...(tls.caPem === undefined ? { rejectUnauthorized: false } : { ca: tls.caPem }),
    clientId: serial,
  });
  say('  2 connect   The device connects to the broker over TLS; it knows the site CA and nothing else.');
  try {
    await client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const start = performance.now();
    const reply = replyOf(client, ({ position }) =>
      say(`    …         It is told that it waits, at position ${position} of the line, and goes on waiting.`),
    );
    await client.publishAsync(requestTopic(serial), JSON.stringify({ token, id: 'demo' }), { qos: 1 });
    say(`  3 ask       It publishes {"token":"…"} to ${requestTopic(serial)}.`);
    say(
      `              PUBACK after ${(performance.now() - start).toFixed(0)} ms: the request is stored in Redis and will be answered.`,
    );
    const answer = await reply;
    if (answer.status === 'rejected')
      throw new Error(
        `the gateway refused the device: ${answer.statusCode} ${answer.errorCode}: ${answer.errorMessage}`,
      );
    say(
      `  4 receive   After ${(performance.now() - start).toFixed(0)} ms the reply is on ${replyTopic(serial)}: certificate, private key, endpoint, root CA.`,
    );
    say(`              certificateId ${answer.certificateId}`);
    await client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId: answer.certificateId }), { qos: 1 });
    say(`  5 store     It stores them and says so on ${ackTopic(serial)}: the token cannot be used again.`);
    return answer;
  } finally {
    await client.endAsync();
  }
}

async function connectToAws(
  { say, local }: Demo,
  { endpoint, rootCa, certificatePem, privateKey, thingName }: Accepted,
): Promise<void> {
  const port = local?.mqttPort ?? 8883;
  const client = await connectOnce({
    host: endpoint,
    port,
    ca: rootCa,
    cert: certificatePem,
    key: privateKey,
    clientId: thingName,
  });
  say(
    `  6 connect   With that certificate, by mutual TLS, it connects to AWS IoT${local ? ' (the stand-in)' : ''} at ${endpoint}:${port} as ${thingName}.`,
  );
  try {
    await client.publishAsync(
      `${thingName}/hello`,
      JSON.stringify({ hello: 'from a device with an identity of its own' }),
      { qos: 1 },
    );
    say(`  7 publish   Its first message, on ${thingName}/hello, is acknowledged.`);
  } finally {
    await client.endAsync();
  }
}

async function invitation(
  { app, port, tls }: Demo,
  { serial, token }: { serial: string; token: string },
): Promise<string> {
  const ca = tls.caFile === undefined ? '' : ` --cafile ${relative(process.cwd(), tls.caFile)}`;
  return `
A second device is enrolled. Be that device yourself (mosquitto_rr is in Debian's mosquitto-clients):

  mosquitto_rr -V mqttv311 -h localhost -p ${port}${ca} -q 1 \\
    -t ${requestTopic(serial)} -e ${replyTopic(serial)} \\
    -m '{"token":"${token}","pending":false}'

Log: ${relative(process.cwd(), join(app.settings.dataDir, 'gateway.log'))}. Enrol more in another terminal: npm run --silent cvm -- devices add MY-SERIAL
The gateway stays up; Ctrl-C ends it.`;
}

/** The first message that is an answer: `pending` is none, and comes before it where the machine is slow. */
function replyOf(client: MqttClient, onPending: (notice: Pending) => void): Promise<Accepted | Rejected> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no reply within ${replyMs / 1000} s`)), replyMs);
    client.on('message', (_topic, payload) => {
      const message = JSON.parse(payload.toString()) as Accepted | Rejected | Pending;
      if (message.status === 'pending') return onPending(message);
      clearTimeout(timer);
      resolve(message);
    });
    client.once('close', () => reject(new Error('the broker closed the connection before the reply')));
  });
}
