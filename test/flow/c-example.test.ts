import { spawn } from 'node:child_process';
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { pointOf } from '../../site-tls/time-key.ts';
import { buildFolder, lacksMbedtls, make } from '../support/c-build.ts';
import { connectDevice } from '../support/device.ts';
import { apartFromPlaces, lineUp, startExample } from '../support/example-suite.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { goldenTime, pinnedTimeKey } from '../support/time.ts';

describe.skipIf(lacks('redis-server') || lacksMbedtls())('examples/c', () => {
  let build: ReturnType<typeof buildFolder>;
  let gateway: Gateway;
  let folder: string;
  let figures: string;
  beforeAll(async () => {
    build = buildFolder();
    figures = make(build.path);
    gateway = await startGateway({ env: { CVM_WORKER_CONCURRENCY: '1' } });
    folder = mkdtempSync(join(tmpdir(), 'cvm-c-example-'));
  });
  afterAll(async () => {
    await gateway?.close();
    build?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  type How = { readonly by: string; readonly timeKey?: string; readonly shell?: string; readonly until?: RegExp };

  /**
   * @param how.shell what stands before it on its command line
   * @param how.until ends it a moment after it has said this, since it would go on trying: it has no status then
   */
  async function provision(serial: string, token: string, { by, timeKey, shell = '', until }: How) {
    const argv = ['localhost', String(gateway.broker.port), by, serial, join(folder, serial)];
    const program = join(build.path, 'provision');
    const child = spawn('sh', [
      '-c',
      `${shell}exec "$0" "$@"`,
      program,
      ...argv,
      ...(timeKey === undefined ? [] : [timeKey]),
    ]);
    let said = '';
    for (const each of [child.stdout, child.stderr]) each.on('data', (text) => (said += text));
    // one that ends at once reads nothing
    child.stdin.on('error', () => {}).end(`${token}\n`);
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    if (until !== undefined) {
      await expect.poll(() => said).toMatch(until);
      await new Promise((resolve) => setTimeout(resolve, 500));
      child.kill('SIGKILL');
    }
    return { status: await ended, said: apartFromPlaces(said) };
  }
  const stored = (serial: string, file: string) => readFileSync(join(folder, serial, file));
  const certificateOf = (serial: string) => new X509Certificate(stored(serial, 'device.crt'));

  it('says at its build what it needs of flash, RAM and stack', () => {
    for (const what of ['flash of our files', 'static RAM of our files', 'stack: all frames'])
      expect(figures).toMatch(new RegExp(`${what}.* \\d+ bytes \\(bound: \\d+\\)`));
  });

  it('is not built where it needs more than its bounds', () => {
    expect(() => make(build.path, 'RAM_BOUND=100')).toThrow('static RAM of our files: above its bound');
  });

  it.each<[string, () => How]>([
    ['pre-shared key', () => ({ by: 'psk' })],
    ['certificate', () => ({ by: gateway.broker.caFile })],
    [
      'certificate, without a clock',
      () => ({
        by: gateway.broker.caFile,
        timeKey: pointOf(pinnedTimeKey(gateway.dataDir)).toString('hex'),
      }),
    ],
  ])(
    'gets a certificate for its own key in packets of 256 bytes, stores it, and acknowledges it: %s',
    async (way, how) => {
      const { serial, token } = await gateway.enrolOnRoster(
        `C-${createHash('sha256').update(way).digest('hex').slice(0, 8)}`,
      );
      const { status, said } = await provision(serial, token, how());
      expect([status, said]).toEqual([0, '']);
      const certificate = certificateOf(serial);
      const key = createPrivateKey({ key: stored(serial, 'device.key'), format: 'der', type: 'sec1' });
      expect(certificate.checkPrivateKey(key)).toBe(true);
      expect(stored(serial, 'certificate-id').toString('hex')).toBe(
        createHash('sha256').update(certificate.raw).digest('hex'),
      );
      expect(statSync(join(folder, serial, 'device.key')).mode & 0o777).toBe(0o600);
      expect(stored(serial, 'endpoint').toString()).toMatch(/^\S+$/);
      await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
      expect(await provision(serial, token, how())).toMatchObject({ status: 0 });
      expect(certificateOf(serial).fingerprint256).toBe(certificate.fingerprint256);
    },
  );

  it('goes on with the part that is missing, after it could store half of a part and was ended', async () => {
    const { serial, token } = await gateway.enrolOnRoster('C-ENDED');
    // no file may have more than 512 bytes, which is in the third part
    const first = await provision(serial, token, { by: 'psk', shell: 'ulimit -f 1; ', until: /asking again/ });
    expect(first).toMatchObject({ status: null, said: 'the reply: the store failed\nasking again in 5 s\n' });
    expect(stored(serial, 'reply.data').length).toBe(512);
    const { status, said } = await provision(serial, token, { by: 'psk' });
    expect([status, said]).toEqual([0, 'going on with part 3\n']);
    expect(certificateOf(serial).subject).toContain(serial);
  });

  it('sends nothing to a server that does not know its pre-shared key', async () => {
    const { serial } = await gateway.enrolOnRoster('C-WRONG-KEY');
    const { status, said } = await provision(serial, 'w'.repeat(30), { by: 'psk', until: /asking again/ });
    expect([status, said]).toEqual([
      null,
      expect.stringMatching(/^connecting by TLS: .*\nthis may be: .*\nasking again in 5 s\n$/),
    ]);
  });

  it('ends with what the gateway says, where that refuses for good', async () => {
    const { serial } = await gateway.enrolOnRoster('C-REFUSED');
    const { status, said } = await provision(serial, 'w'.repeat(30), { by: gateway.broker.caFile });
    expect([status, said]).toEqual([1, expect.stringContaining('InvalidToken: the token does not fit this serial')]);
    expect(() => stored(serial, 'device.crt')).toThrow();
  });

  it('takes no time that another key signed, and then sends no token', async () => {
    const { serial, token } = await gateway.enrolOnRoster('C-TIME');
    const how = { by: gateway.broker.caFile, timeKey: goldenTime.publicKey, until: /pinned key\n/ };
    const { status, said } = await provision(serial, token, how);
    expect([status, said]).toEqual([null, 'the time: the time is not signed for this nonce by the pinned key\n']);
    expect((await gateway.registry.find(serial))?.state).toBe('enrolled');
  });

  it('could publish with QoS 0, as PubSubClient does: request and acknowledgement are taken', async () => {
    const { serial, token } = await gateway.enrolOnRoster('C-QOS-0');
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 0 });
    const { status, certificateId } = await device.next();
    expect(status).toBe('accepted');
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 0 });
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
    await device.client.endAsync(true);
  });

  it('waits in the line behind others', async () => {
    const { serial, token } = await gateway.enrolOnRoster('C-WAITS');
    const endWait = await lineUp(gateway, 'C-BEFORE');
    const argv = ['localhost', String(gateway.broker.port), 'psk', serial, join(folder, serial)];
    const program = startExample([join(build.path, 'provision'), ...argv], token);
    await expect.poll(program.said).toMatch(/position \d+ in the line/);
    await endWait();
    expect(await program.ended()).toMatchObject({ status: 0 });
  });
});
