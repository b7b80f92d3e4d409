import { execFile, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { promisify } from 'node:util';
import { Aedes } from 'aedes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { arrivalTimes } from '../../gateway-sim/arrivals.ts';
import { usualBehaviour } from '../../gateway-sim/behaviour.ts';
import { bundledScenarios } from '../../gateway-sim/bundled.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { randomOf } from '../../gateway-sim/random.ts';
import { fullReport } from '../../gateway-sim/report.ts';
import { behavioursOf, loadScenario } from '../../gateway-sim/scenario.ts';
import { simulate } from '../../gateway-sim/simulate.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { until } from '../support/network.ts';

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
const devices = 10;
/** All of a scenario's arrivals are so much faster here. */
const hurry = 10;

describe.skipIf(lacks('redis-server'))('the scenarios of the simulator', () => {
  let gateway: Gateway;
  let folder: string;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'warn' });
    folder = mkdtempSync(join(tmpdir(), 'cvm-sim-'));
  });
  afterAll(async () => {
    await gateway?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Plays a scenario with few devices, on the real gateway. */
  async function play(name: string, extra: { issuerKey?: ReturnType<typeof generateKeyPairSync>['publicKey'] } = {}) {
    const scenario = await loadScenario(name);
    const random = randomOf(3);
    const starts = arrivalTimes(scenario.arrival, devices, random);
    const enrolled = behavioursOf(scenario.site.mix, devices, random).map(async (behaviour, index) => {
      const credential = await gateway.enrolOnRoster(`${name}-${index}-${Object.keys(extra).length}`);
      const own = behaviour.flow === 'csr' ? { key: await makeDeviceKey(credential.serial) } : {};
      return { ...credential, ...own, behaviour, startMs: (starts[index] ?? 0) / hurry };
    });
    const simulated = await simulate({
      gateway: { host: 'localhost', port: gateway.broker.port, caPem: readFileSync(gateway.broker.caFile, 'utf8') },
      devices: await Promise.all(enrolled),
      ...{
        concurrency: devices,
        timeoutMs: 100_000,
        maxPauseMs: 2000,
        addresses: scenario.addresses,
        seed: 3,
        ...extra,
      },
    });
    return fullReport(simulated, { scenario: name, seed: 3 });
  }

  it.each(Object.keys(bundledScenarios))('end as they should at a real gateway: %s', async (name) => {
    const report = await play(name);
    expect(report).toMatchObject({ devices, asExpected: devices, wrong: {}, timedOut: 0 });
    expect(report.rejected).toEqual(name === 'wrong-tokens' ? { InvalidToken: 1 } : {});
    expect(report.replaysRefused).toEqual(name === 'wrong-tokens' ? { AlreadyProvisioned: 1 } : {});
  });

  it('have devices that take small packets only, and put their replies together over links that break', async () => {
    const kinds = [
      { flow: 'ec', encoding: 'json', maxPacket: 128, linkBreaks: 0.02 },
      { flow: 'csr', encoding: 'cbor', maxPacket: 256, linkBreaks: 0.05 },
      { flow: 'ec', encoding: 'json', maxPacket: 1024, prove: 'psk' },
      { flow: 'ec', encoding: 'json', maxPacket: 128, token: 'wrong' },
    ] as const;
    const enrolled = kinds.map(async (kind, index) => {
      const credential = await gateway.enrolOnRoster(`small-${index}`);
      const own = kind.flow === 'csr' ? { key: await makeDeviceKey(credential.serial) } : {};
      return { ...credential, ...own, behaviour: { ...usualBehaviour, ...kind }, startMs: 0 };
    });
    const simulated = await simulate({
      gateway: { host: 'localhost', port: gateway.broker.port, caPem: readFileSync(gateway.broker.caFile, 'utf8') },
      devices: await Promise.all(enrolled),
      ...{ concurrency: devices, timeoutMs: 100_000, maxPauseMs: 500, addresses: 1, seed: 3 },
    });
    const report = fullReport(simulated, { scenario: 'small', seed: 3 });
    expect(report).toMatchObject({ asExpected: kinds.length, accepted: 3, wrong: {}, rejected: { InvalidToken: 1 } });
  });

  it('find a certificate wrong that another CA than the given one has signed', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const report = await play('old-firmware', { issuerKey: publicKey });
    expect(report).toMatchObject({
      accepted: 0,
      wrong: { 'the certificate was not signed by the CA that was given': devices },
    });
  });

  it('take the alert for a wrong pre-shared key as its refusal, and a port where nothing listens as none', async () => {
    const credential = await gateway.enrolOnRoster('wrong-key');
    const behaviour = { ...usualBehaviour, prove: 'psk' as const, token: 'wrong' as const };
    const caPem = readFileSync(gateway.broker.caFile, 'utf8');
    const at = async (port: number, timeoutMs: number) =>
      (
        await simulate({
          gateway: { host: 'localhost', port, caPem },
          devices: [{ ...credential, behaviour, startMs: 0 }],
          ...{ concurrency: 1, timeoutMs, seed: 1 },
        })
      ).outcomes[0];
    expect(await at(gateway.broker.port, 30_000)).toMatchObject({ kind: 'rejected', errorCode: 'TlsAlert' });
    expect(await at(1, 1000)).toMatchObject({
      kind: 'timedOut',
      reason: expect.stringMatching(/ECONNREFUSED/),
    });
  });

  /** `cvm sim` against this gateway, or another port. */
  const argvOf = (port: number, ...argv: string[]) => [
    cvm,
    'sim',
    '--port',
    String(port),
    '--ca',
    gateway.broker.caFile,
    ...argv,
  ];
  const env = () => ({ PATH: process.env.PATH, CVM_DATA_DIR: folder });

  async function credentials(name: string, count: number): Promise<string> {
    const file = join(folder, `${name}.csv`);
    const enrolled = Array.from({ length: count }, (_, index) => gateway.enrolOnRoster(`${name}-${index}`));
    const rows = (await Promise.all(enrolled)).map(({ serial, token }) => `${serial},${token}`);
    writeFileSync(file, ['serial,token', ...rows].join('\n'));
    return file;
  }

  it('are reported as JSON and as a page, with the cost of the simulator told from that of TLS and of the gateway', async () => {
    const page = join(folder, 'report.html');
    const list = await credentials('reported', 5);
    const { stdout } = await run(
      process.execPath,
      argvOf(
        gateway.broker.port,
        ...['--scenario', 'old-firmware', '--credentials', list, '--tls-reference', '50', '--seed', '9', '--json'],
        ...['--html', page, '--gateway-pid', String(process.pid), '--quota', '10'],
      ),
      { env: env() },
    );
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ devices: 5, accepted: 5, asExpected: 5, seed: 9, quotaPerSecond: 10 });
    expect(report.simulator).toMatchObject({ connections: 5, tls: { connections: 50 } });
    expect(report.gateway.rssBytesPeak).toBeGreaterThan(0);
    expect(readFileSync(page, 'utf8')).toContain('5 of 5 devices got a certificate');
    const file = join(folder, 'report.json');
    writeFileSync(file, stdout);
    const compared = await run(process.execPath, [cvm, 'sim', 'compare', file, file], { env: env() });
    expect(compared.stdout).toMatch(/certificates a second .* 1\.00/);
    await expect(run(process.execPath, [cvm, 'sim', 'compare', file, page], { env: env() })).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/report\.html is no report of the simulator/),
    });
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('end early by %s with a report so far, and exit status %i', async (signal, status) => {
    const slow = join(folder, 'slow.json');
    const arrival = { curve: 'waves', waves: 2, everySeconds: 600 };
    writeFileSync(slow, JSON.stringify({ description: 'half come much later', arrival, site: [{ part: 1 }] }));
    const list = await credentials(signal, 4);
    const child = spawn(
      process.execPath,
      argvOf(gateway.broker.port, '--scenario', slow, '--credentials', list, '--json'),
      { env: env(), stdio: ['ignore', 'pipe', 'ignore'] },
    );
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    const registered = async (serial: string) => (await gateway.registry.find(serial))?.deliveredAt !== undefined;
    await until(
      async () => (await registered(`${signal}-0`)) && (await registered(`${signal}-1`)),
      60_000,
      'two devices done',
    );
    // each leaves when it has counted its certificate
    await expect.poll(() => gateway.broker.metric('cvm_broker_connections_open')).toBe(0);
    child.kill(signal);
    const [code] = await once(child, 'close');
    expect(code).toBe(status);
    expect(JSON.parse(out)).toMatchObject({ devices: 2, accepted: 2 });
  });

  it('name the cause where another MQTT broker is at the port', async () => {
    const own = join(gateway.broker.caFile, '..');
    const [cert, key] = ['server.crt', 'server.key'].map((name) => readFileSync(join(own, name)));
    const other = await Aedes.createBroker();
    const server = createServer({ cert, key }, (socket) => void other.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const list = join(folder, 'strangers.csv');
      writeFileSync(list, 'serial,token\nstranger-1,kJ8vQ2mX4tZr7LwN0aYcBdEfGhI\n');
      await expect(
        run(process.execPath, argvOf(port, '--flow', 'ec', '--credentials', list, '--timeout', '5'), { env: env() }),
      ).rejects.toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/timed out, no answer in time +1/),
        stderr: expect.stringMatching(/is a gateway at localhost:\d+, is its worker running/),
      });
    } finally {
      other.close();
      server.close();
    }
  });
});
