import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { enrolDevices, isolated, processesIn, programRuns, type Run, recordsIn } from '../support/program.ts';

const long = { timeout: 45_000 };

/** Processes that this one has started, by their command line. */
function childrenOf(parent: number | undefined, pattern: RegExp): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const [, ppid] = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return Number(ppid) === parent && pattern.test(line);
      } catch {
        return false;
      }
    })
    .map(Number);
}

describe.skipIf(lacks('redis-server'))('a gateway that is watched', { timeout: 120_000 }, () => {
  let dataDir: string;
  const runs = programRuns();
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-watched-'));
  });
  afterEach(async () => {
    for (const pid of processesIn(join(dataDir, 'redis'))) process.kill(pid, 'SIGCONT');
    await runs.end();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const start = (argv: readonly string[], env: Record<string, string> = {}) =>
    runs.start(argv, { ...isolated(dataDir), ...env });
  type Line = { msg?: string; port?: number };
  const portIn = (run: Run, message: string) =>
    recordsIn<Line>(run.text()).find(({ msg }) => msg === message)?.port ?? 0;
  async function get(run: Run, path: string) {
    const port = portIn(run, 'metrics and health are served');
    // each on a connection of its own: one that is kept may be closed in the moment of the next request
    const asking = request({ host: '127.0.0.1', port, path, agent: false }).end();
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    return { status: response.statusCode, text: await text(response) };
  }
  async function provision(run: Run, listening: string, serial: string): Promise<void> {
    const broker = { port: portIn(run, listening), caPem: readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8') };
    const token = (await enrolDevices([serial], isolated(dataDir)))(serial);
    expect(await askOnce(broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  }

  it('tells in one place what all of its processes did, and whether they can go on; with cause and cure when not', async () => {
    const run = start(['up', '--local-aws', '--processes', '2'], { CVM_BROKER_METRICS_PORT: '0' });
    await run.says(/all broker processes are listening.*\n/);
    const broker = {
      port: portIn(run, 'all broker processes are listening'),
      caPem: readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8'),
    };
    for (let device = 0; device < 4; device++)
      expect(await askOnce(broker, `stranger-${device}`, {})).toMatchObject({ status: 'rejected' });
    await provision(run, 'all broker processes are listening', 'SN-1');

    // a worker counts a request when it has handed over the reply
    const isCounted = /^cvm_worker_requests_total\{outcome="vended"\} 1$/m;
    await expect.poll(async () => (await get(run, '/metrics')).text, long).toMatch(isCounted);
    const { status, text } = await get(run, '/metrics');
    expect(status).toBe(200);
    for (const line of [
      // four of strangers, two for each process, and one of the device
      /^cvm_broker_messages_received_total\{kind="request"\} 5$/m,
      /^cvm_broker_messages_refused_total\{kind="request",error_code="InvalidToken"\} 4$/m,
      /^cvm_aws_call_seconds_count\{operation="iot:UpdateCertificate",outcome="done"\} 1$/m,
      /^cvm_broker_certificate_expiry_timestamp_seconds\{certificate="ca"\} \d+/m,
      /^bullmq_job_count\{queue="asks", state="waiting"\} 0$/m,
      /^cvm_build_info\{version="/m,
      /^process_resident_memory_bytes \d+$/m,
    ])
      expect(text).toMatch(line);
    expect(text).not.toContain('SN-1');
    // no name twice, as the format asks
    const types = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(types.length).toBe(new Set(types).size);
    // what a process has counted stays counted when it is killed
    for (const pid of childrenOf(run.child.pid, /broker --process/)) process.kill(pid, 'SIGKILL');
    await run.says(/a broker process ended/);
    expect((await get(run, '/metrics')).text).toMatch(/^cvm_broker_messages_received_total\{kind="request"\} 5$/m);

    expect((await get(run, '/healthz')).status).toBe(200);
    await expect.poll(async () => (await get(run, '/readyz')).status, long).toBe(200);
    for (const pid of processesIn(join(dataDir, 'redis'))) process.kill(pid, 'SIGSTOP');
    await expect.poll(async () => (await get(run, '/readyz')).status, long).toBe(503);
    await expect
      .poll(async () => JSON.parse((await get(run, '/readyz')).text).troubles, long)
      .toContainEqual(
        expect.objectContaining({ cause: expect.stringContaining('Redis'), cure: expect.stringMatching(/\w+/) }),
      );
  });

  it('does not start where a port that was named is taken, and starts where a token is missing only on this machine', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const taken = start(['broker'], { CVM_BROKER_METRICS_PORT: `${port}`, REDIS_URL: 'redis://127.0.0.1:1' });
    expect(await taken.ended).toMatchObject({ status: 2 });
    expect(taken.text()).toMatch(
      /CVM_METRICS_LISTEN, CVM_BROKER_METRICS_PORT: cannot listen on 127\.0\.0\.1, port \d+ \(EADDRINUSE\)/,
    );
    other.close();
    const open = start(['broker'], {
      CVM_METRICS_LISTEN: '0.0.0.0',
      CVM_BROKER_METRICS_PORT: '0',
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    expect(await open.ended).toMatchObject({ status: 2 });
    expect(open.text()).toMatch(/CVM_METRICS_TOKEN_FILE: is needed where CVM_METRICS_LISTEN is 0\.0\.0\.0/);
    const file = join(dataDir, 'token');
    writeFileSync(file, 'short\n');
    const short = start(['broker'], {
      CVM_METRICS_TOKEN_FILE: file,
      CVM_BROKER_METRICS_PORT: '0',
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    expect(await short.ended).toMatchObject({ status: 2 });
    expect(short.text()).toMatch(/CVM_METRICS_TOKEN_FILE: .* must hold one token of 16 characters or more/);
  });

  it('writes its log to a file, all processes to one, and opens it anew at SIGHUP, which ends none of them', async () => {
    const [file, before] = [join(dataDir, 'gateway.log'), join(dataDir, 'gateway.log.1')];
    const run = start(['up', '--local-aws', '--processes', '2'], { CVM_LOG_FILE: file });
    const said = (name: string, message: string) =>
      recordsIn<Line>(readFileSync(name, 'utf8')).filter(({ msg }) => msg === message);
    await expect.poll(() => said(file, 'all broker processes are listening').length, long).toBe(1);
    await run.says(/The password of the console/);
    renameSync(file, before);
    run.child.kill('SIGHUP');
    // the first process, and the two that it tells
    await expect.poll(() => said(file, 'the log was opened anew').length, long).toBe(3);
    const length = readFileSync(before).length;
    run.child.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
    expect(said(file, 'closing')).toHaveLength(3);
    expect(readFileSync(before).length).toBe(length);
    // what is for one pair of eyes stays out of the log
    expect(run.text()).toMatch(/^ *The password of the console, shown this once: \S+ .*\n+$/);
    expect(readFileSync(file, 'utf8') + readFileSync(before, 'utf8')).not.toContain('The password of the console');
  });

  it('has lines for people where LOG_FORMAT asks for them, and no password in the journal of systemd', async () => {
    const run = start(['up', '--local-aws'], { LOG_FORMAT: 'pretty', JOURNAL_STREAM: '8:12345' });
    await run.says(/^\d{4}-\d\d-\d\dT[\d:.]+Z INFO {2}broker is listening port=\d+/m);
    expect(run.text()).not.toMatch(/^\{/m);
    expect(run.text()).not.toContain('\u001b');
    await run.says(/cvm console password --reset makes one and shows it/);
    expect(run.text()).not.toContain('shown this once');
  });
});
