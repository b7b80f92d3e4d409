import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readWebFiles } from '../../console/web-files.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { tlsOptions } from '../../site-tls/material.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { type Answer, type Call, startTestConsole, type TestConsole } from '../support/console.ts';
import { openEvents } from '../support/console-stream.ts';
import { lacks } from '../support/lacks.ts';
import { accepts, freePort, until } from '../support/network.ts';

/** The address of the proxy; a stranger that goes past it comes from another. */
const proxyAddress = '127.0.0.9';

/** The lines of docs/console.md, as an operator copies them. */
const documented = /```nginx\n([\s\S]*?)```/.exec(readFileSync('docs/console.md', 'utf8'))?.[1] ?? '';

describe.skipIf(lacks('nginx') || lacks('redis-server'))('the console behind nginx, by the lines of its page', () => {
  let console: TestConsole;
  let folder: string;
  let port: number;
  let ca: string;
  let nginx: ChildProcess | undefined;
  const said: string[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-nginx-'));
    const material = await loadTlsMaterial(tlsOptions(loadSettings({ CVM_DATA_DIR: folder })));
    ca = material.caPem ?? '';
    writeFileSync(join(folder, 'console.crt'), material.cert);
    writeFileSync(join(folder, 'console.key'), material.key, { mode: 0o600 });
    writeFileSync(join(folder, 'console.htpasswd'), 'ada:{PLAIN}of-ada\neve:{PLAIN}of-eve\n');
  });
  beforeEach(async () => {
    console = await startTestConsole({
      env: {
        CVM_CONSOLE_TRUSTED_HEADER: 'X-Forwarded-User',
        CVM_CONSOLE_TRUSTED_FROM: proxyAddress,
        CVM_CONSOLE_OPERATORS: 'ada',
      },
      deps: { pages: readWebFiles(), watcherTimes: { gatherMs: 50, nowEveryMs: 100, lineEveryMs: 100 } },
    });
    writeFileSync(join(folder, 'site-ca.crt'), console.ca);
  });
  afterEach(async () => {
    nginx?.kill('SIGTERM');
    if (nginx?.exitCode === null && nginx.signalCode === null) await once(nginx, 'exit');
    await console.close();
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** @param change of the lines */
  async function startNginx(change: (lines: string) => string = (lines) => lines): Promise<void> {
    port = await freePort();
    const lines = change(documented)
      .replace('listen 443 ssl', `listen 127.0.0.1:${port} ssl`)
      .replaceAll('/etc/nginx/', `${folder}/`)
      .replace('https://gateway:8443', `https://127.0.0.1:${console.port}`)
      .replace('proxy_ssl_name gateway', 'proxy_ssl_name localhost')
      .replace('proxy_pass ', `proxy_bind ${proxyAddress};\n        proxy_pass `);
    const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (each) => `${each}_temp_path ${folder}/tmp;`,
    );
    const user = process.getuid?.() === 0 ? 'user root;\n' : '';
    const config = `${user}daemon off;\npid ${folder}/pid;\nevents {}\nhttp {\naccess_log off;\n${places.join('\n')}\n${lines}\n}\n`;
    writeFileSync(join(folder, 'nginx.conf'), config);
    nginx = spawn('nginx', ['-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    nginx.stderr?.on('data', (chunk: Buffer) => said.push(chunk.toString()));
    const isUp = async () => {
      if (nginx?.exitCode !== null) throw new Error(said.join(''));
      return accepts(port);
    };
    await until(isUp, 60_000, 'nginx listens');
  }

  const as = (person: string) => ({
    authorization: `Basic ${Buffer.from(`${person}:of-${person}`).toString('base64')}`,
  });

  const call = (path: string, { method = 'GET', headers = {}, body }: Call = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const to = { host: '127.0.0.1', port, path, method, ca, servername: 'localhost', agent: false };
      const type = body === undefined || 'content-type' in headers ? {} : { 'content-type': 'application/json' };
      const sent = request({ ...to, headers: { ...type, ...headers } }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const isJson = `${answer.headers['content-type']}`.startsWith('application/json');
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            text,
            body: isJson ? JSON.parse(text) : {},
          });
        });
      });
      sent.on('error', reject);
      sent.end(typeof body === 'string' ? body : body === undefined ? undefined : JSON.stringify(body));
    });
  const api = (path: string, options?: Call) => call(`/api/v1${path}`, options);

  it('signs persons in with their roles: an operator enrols, by name, and a viewer only looks', async () => {
    await startNginx();
    expect((await api('/session')).status).toBe(401);
    expect((await api('/session', { headers: { authorization: 'Basic YWRhOndyb25n' } })).status).toBe(401);
    const ada = await api('/session', { headers: as('ada') });
    expect(ada.body).toMatchObject({ person: 'ada', role: 'operator', by: 'proxy' });
    const eve = await api('/session', { headers: as('eve') });
    expect(eve.body).toMatchObject({ person: 'eve', role: 'viewer' });
    const enrol = (person: string, csrf: string) =>
      api('/devices', { method: 'POST', body: { serial: 'SN-1' }, headers: { ...as(person), 'x-csrf-token': csrf } });
    expect((await enrol('eve', eve.body.csrf)).body.error.code).toBe('Forbidden');
    expect((await enrol('ada', ada.body.csrf)).status).toBe(201);
    expect(console.operator.events).toEqual([
      'signed-in console:ada 127.0.0.1',
      'signed-in console:eve 127.0.0.1',
      'enrolled SN-1 console:ada',
    ]);
    // the password of the proxy has not come to the console
    expect(console.logText()).not.toContain('of-ada');
  });

  it('takes nobody for another by a header that the client sends itself, in whatever spelling', async () => {
    await startNginx();
    for (const name of ['x-forwarded-user', 'X-FORWARDED-USER', 'x_forwarded_user']) {
      const { body } = await api('/session', { headers: { ...as('eve'), [name]: 'ada' } });
      expect([name, body.person, body.role]).toEqual([name, 'eve', 'viewer']);
    }
    // nor by one that is sent past the proxy
    const past = await console.api('/session', { headers: { 'x-forwarded-user': 'ada' } });
    expect(past.status).toBe(401);
    expect(console.operator.events.join(' ')).not.toContain('ada');
  });

  it('takes nobody for a person where a proxy adds its header to that of the client', async () => {
    await startNginx((lines) =>
      lines.replace('X-Forwarded-User $remote_user', 'X-Forwarded-User "$http_x_forwarded_user, $remote_user"'),
    );
    expect((await api('/session', { headers: { ...as('eve'), 'x-forwarded-user': 'ada' } })).status).toBe(401);
  });

  it('signs in where the proxy passes on the password that was for itself', async () => {
    await startNginx((lines) => lines.replace('proxy_set_header Authorization "";', ''));
    expect((await api('/session', { headers: as('ada') })).body.person).toBe('ada');
  });

  it('passes events on as they happen, and takes a file of the size that the console takes', async () => {
    await startNginx();
    const stream = openEvents({ port, ca }, as('ada'));
    expect(await stream.opened).toBe(200);
    await expect.poll(() => stream.events.some(({ event }) => event === 'now')).toBe(true);
    stream.close();
    const { csrf } = (await api('/session', { headers: as('ada') })).body;
    const rows = Array.from({ length: 90_000 }, (_, index) => `SN-${index},${'x'.repeat(64)}`);
    const send = (body: string) =>
      api('/devices/import/preview', {
        method: 'POST',
        body,
        headers: { ...as('ada'), 'x-csrf-token': csrf, 'content-type': 'text/csv' },
      });
    expect((await send(`serial,site\n${rows.join('\n')}\n`)).body).toMatchObject({ rows: 90_000, good: 90_000 });
  });

  it('serves the pages below a path of the proxy', async () => {
    await startNginx((lines) =>
      lines.replace('location / {', 'location /gateway/ {').replace('https://gateway:8443;', 'https://gateway:8443/;'),
    );
    const page = await call('/gateway/', { headers: as('ada') });
    expect(page.status).toBe(200);
    const links = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = '']) => link);
    expect(links.length).toBeGreaterThan(5);
    for (const link of links) {
      const { pathname } = new URL(link, `https://localhost:${port}/gateway/`);
      expect([link, (await call(pathname, { headers: as('ada') })).status]).toEqual([link, 200]);
    }
    expect((await call('/gateway/api/v1/session', { headers: as('ada') })).body.person).toBe('ada');
  });
});
