import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks, pythonWith } from '../support/lacks.ts';

const run = promisify(execFile);

const python = pythonWith('paho.mqtt.client');

const page = readFileSync(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8');
const [, example = ''] = /^With paho[^`]*```python\n(.*?)^```/ms.exec(page) ?? [];

describe.skipIf(lacks('redis-server') || python === undefined)('the example in paho of docs/protocol.md', () => {
  let gateway: Gateway;
  let folder: string;
  let others: TestDevice[];
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_QUOTAS: 'UpdateCertificate=0.5' }, logLevel: 'info' });
    folder = mkdtempSync(join(tmpdir(), 'cvm-paho-'));
  });
  afterAll(async () => {
    for (const { client } of others ?? []) await client.endAsync(true);
    await gateway?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Devices that asked before it. */
  async function lineUp(serials: readonly string[]): Promise<void> {
    others = [];
    for (const serial of serials) {
      const { token } = await gateway.enrolOnRoster(serial);
      const device = await connectDevice(gateway.broker);
      others.push(device);
      await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    }
  }

  /** @param patience seconds that it waits for, in place of the minute of the page */
  function play({ serial, token }: { serial: string; token: string }, patience: number) {
    const { port, caFile } = gateway.broker;
    const changes = [
      ['"gateway", 8883', `"localhost", ${port}`],
      ['"site-ca.crt"', JSON.stringify(caFile)],
      ['<= 60', `<= ${patience}`],
      [
        'mqtt.Client()',
        'mqtt.Client(*([mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []))',
      ],
      // what it does, and what it hears
      ['    client.publish(', '    print(json.dumps({"status": "connected"}), flush=True)\n    client.publish('],
      ['    global pause\n', '    global pause\n    print(message.payload.decode(), flush=True)\n'],
    ] as const;
    let code = example;
    for (const [from, to] of changes) {
      expect(code).toContain(from);
      code = code.replace(from, to);
    }
    const file = join(folder, `${serial}.py`);
    writeFileSync(file, code);
    const env = { ...process.env, SERIAL: serial, TOKEN: token };
    return run(python ?? '', [file], { env, timeout: 170_000 });
  }

  it.each<[string, string, number, string[]]>([
    ['waits on its connection for its certificate', 'stays', 60, ['connected', 'pending', 'accepted']],
    [
      'leaves when it takes too long, comes back, and gets its certificate',
      'leaves',
      1,
      ['connected', 'pending', 'connected', 'accepted'],
    ],
  ])('%s', async (_what, serial, patience, steps) => {
    const device = await gateway.enrolOnRoster(serial);
    await lineUp([1, 2, 3, 4, 5, 6, 7, 8].map((index) => `${serial}-${index}`));
    const { stdout } = await play(device, patience);
    const heard = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const statuses: string[] = heard.map(({ status }) => status);
    const seen = statuses.filter((status, index) => status !== statuses[index - 1]);
    expect(seen.slice(0, steps.length - 1)).toEqual(steps.slice(0, -1));
    expect(heard.at(-1)).toMatchObject({ status: 'accepted', thingName: serial, privateKey: expect.any(String) });
  });
});
