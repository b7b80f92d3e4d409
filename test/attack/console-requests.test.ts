import { Agent } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createApiToken } from '../../console/api-tokens.ts';
import { resetPassword } from '../../console/password.ts';
import { limits } from '../../console/server.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';

const changes: readonly [method: string, path: string, body?: unknown][] = [
  ['POST', '/devices', { serial: 'SN-X' }],
  ['POST', '/devices/SN-1/reissue', {}],
  ['POST', '/devices/SN-1/block', {}],
  ['POST', '/devices/SN-1/unblock', {}],
  ['DELETE', '/devices/SN-1'],
  ['POST', '/devices/labels/check', { labels: [{ serial: 'SN-1', token: 'a-guess' }] }],
  ['POST', '/devices/bulk', { action: 'block', serials: ['SN-1'] }],
  ['POST', '/devices/import', 'serial\nSN-Y\n'],
  ['POST', '/devices/import/preview', 'serial\nSN-Y\n'],
  ['POST', '/line/some-request/front', {}],
];
const pages = [
  '/now',
  '/devices',
  '/devices/SN-1',
  '/line',
  '/audit',
  '/audit/verify',
  '/settings',
  '/help',
  '/events',
  '/openapi.json',
];
const typeOf = (body: unknown) => (typeof body === 'string' ? { 'content-type': 'text/csv' } : {});

/** One request, byte by byte: no client of HTTP sends all of these. @returns its answer */
function exchange(
  port: number,
  target: string,
  headers: readonly string[],
): Promise<{ readonly status: number; readonly head: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('end', () => resolve({ status: Number(text.slice(9, 12)), head: text.split('\r\n\r\n', 1)[0] ?? '' }));
    socket.write(`${[`GET ${target} HTTP/1.1`, ...headers, 'connection: close'].join('\r\n')}\r\n\r\n`);
  });
}

describe('a request to the console', () => {
  let console: TestConsole;
  beforeAll(async () => {
    const page = {
      body: Buffer.from('<!doctype html>'),
      contentType: 'text/html; charset=utf-8',
      etag: '"1"',
      cacheControl: 'no-cache',
    };
    const shown = { name: 'CVM_X', value: '***', from: 'default', unmasked: 'what nobody may see' };
    console = await startTestConsole({ deps: { pages: new Map([['/', page]]), settingsShown: [shown] } });
    await console.operator.register('SN-1');
  });
  afterAll(() => console.close());

  it('is refused without a session or an API token, whatever it asks for', async () => {
    for (const path of pages) expect([path, (await console.api(path)).status]).toEqual([path, 401]);
    for (const [method, path, body] of changes)
      expect([path, (await console.api(path, { method, body, headers: typeOf(body) })).status]).toEqual([path, 401]);
  });

  it('changes nothing with the cookie alone, as the page of a stranger would send it', async () => {
    const { cookie } = await console.browser();
    for (const [method, path, body] of changes) {
      const headers = { cookie, ...typeOf(body) };
      expect((await console.api(path, { method, body, headers })).body.error.code, path).toBe('CsrfTokenMissing');
      const wrong = await console.api(path, { method, body, headers: { ...headers, 'x-csrf-token': 'a'.repeat(43) } });
      expect(wrong.status, path).toBe(403);
    }
    expect((await console.api('/session', { method: 'DELETE', headers: { cookie } })).status).toBe(403);
  });

  it('of another site is refused, also one to sign in', async () => {
    const { api } = await console.browser();
    const foreign = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' };
    expect((await api('/devices', { headers: foreign })).status).toBe(403);
    const body = { password: console.password };
    expect((await console.api('/session', { method: 'POST', body, headers: foreign })).status).toBe(403);
    // a form can send no JSON
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    expect(
      (await console.api('/session', { method: 'POST', body: `password=${console.password}`, headers: form })).status,
    ).toBe(415);
    const text = { 'content-type': 'text/plain' };
    expect((await console.api('/session', { method: 'POST', body: JSON.stringify(body), headers: text })).status).toBe(
      415,
    );
  });

  it('of a viewer changes nothing, by browser or by API token', async () => {
    const viewer = await console.browser(await resetPassword(console.dataDir, 'viewer'));
    const made = await createApiToken(console.dataDir, { name: 'reader', role: 'viewer' }, Date.now());
    if (made.outcome !== 'created') throw new Error('no token was made');
    const authorization = `Bearer ${made.token}`;
    for (const [method, path, body] of changes) {
      expect((await viewer.api(path, { method, body, headers: typeOf(body) })).body.error.code, path).toBe('Forbidden');
      const byToken = await console.api(path, { method, body, headers: { ...typeOf(body), authorization } });
      expect(byToken.body.error.code, path).toBe('Forbidden');
    }
    expect(console.operator.row('SN-1')?.state).toBe('registered');
  });

  it('to a name that is not of the gateway is refused (DNS rebinding); its own names and addresses are taken', async () => {
    const statusOf = async (host: string) => (await console.call('/', { headers: { host } })).status;
    for (const host of ['evil.example', 'evil.example:8443', 'localhost.evil.example', 'a b', '127.0.0.1.evil.example'])
      expect([host, await statusOf(host)]).toEqual([host, 421]);
    for (const host of ['localhost', '127.0.0.1:8443', '[::1]:8443', `${console.settings.machineName}:8443`])
      expect([host, await statusOf(host)]).toEqual([host, 200]);
  });

  it('that names two hosts, or a whole URL of another host, is judged by each name: a proxy in front may go by another', async () => {
    const { cookie } = await console.browser();
    const statusOf = async (target: string, hosts: readonly string[]) =>
      (await exchange(console.port, target, [...hosts.map((host) => `host: ${host}`), `cookie: ${cookie}`])).status;
    expect(await statusOf('/api/v1/devices', ['localhost'])).toBe(200);
    expect(await statusOf('/api/v1/devices', ['localhost', 'evil.example'])).toBe(421);
    expect(await statusOf('/api/v1/devices', ['evil.example', 'localhost'])).toBe(421);
    expect(await statusOf('https://evil.example/api/v1/devices', ['localhost'])).toBe(421);
    expect(await statusOf('/api/v1/devices', [])).toBe(400);
    // the whole URL of this host is taken (RFC 9112, 3.2.2), and no cache keeps its answer either
    const whole = await exchange(console.port, 'https://localhost/api/v1/devices', [
      'host: localhost',
      `cookie: ${cookie}`,
    ]);
    expect(whole.status).toBe(200);
    expect(whole.head).toMatch(/cache-control: no-store/i);
  });

  it('reaches no file but the pages', async () => {
    for (const path of [
      '/../package.json',
      '/%2e%2e/package.json',
      '/..%2fpackage.json',
      '/....//package.json',
      '/web-files.ts',
      '/api/v1/../../package.json',
      '/%00',
      '/console/passwords.json',
    ]) {
      const { status, text } = await console.call(path);
      expect([400, 404], path).toContain(status);
      expect(text).not.toContain('cvm-gateway');
    }
  });

  it('gets security headers with every answer, and a text of a device is never of a type that a browser runs', async () => {
    const { api } = await console.browser();
    const serial = '<img src=x onerror=alert(1)>';
    const answers = [
      await console.call('/'),
      await console.call('/nothing'),
      await api(`/devices/${encodeURIComponent(serial)}`),
      await api(`/devices?prefix=${encodeURIComponent(serial)}`),
      await api('/devices', { method: 'POST', body: { serial } }),
      await api('/devices/import/preview', {
        method: 'POST',
        body: `serial\n${serial}\n`,
        headers: { 'content-type': 'text/csv' },
      }),
      // what is refused before anything else is looked at
      await console.api('/devices', { headers: { host: 'evil.example' } }),
      await api('/devices', { headers: { 'sec-fetch-site': 'cross-site' } }),
      await console.call('/api/v1/devices/%zz'),
      await api('/devices/%'),
      await api(`/devices/${'A'.repeat(257)}`),
    ];
    for (const { headers } of answers) {
      expect(headers['content-security-policy']).toMatch(/^default-src 'none';script-src 'self';/);
      expect(headers['content-security-policy']).not.toMatch(/unsafe|https?:|\*/);
      for (const part of ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "trusted-types 'none'"])
        expect(headers['content-security-policy']).toContain(part);
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['strict-transport-security']).toBe('max-age=31536000');
      expect(headers['x-frame-options']).toBe('DENY');
      expect(headers['referrer-policy']).toBe('no-referrer');
      expect(headers['cross-origin-opener-policy']).toBe('same-origin');
    }
    for (const { headers } of answers.slice(1)) expect(headers['content-type']).toBe('application/json; charset=utf-8');
    for (const { headers } of answers.slice(2)) expect(headers['cache-control']).toBe('no-store');
    expect(answers.slice(-5).map(({ status, body }) => [status, typeof body.error.cure])).toEqual([
      [421, 'string'],
      [403, 'string'],
      [404, 'string'],
      [404, 'string'],
      [404, 'string'],
    ]);
  });

  it('has a bounded size, and one that is deeply nested or poisons a prototype is refused', async () => {
    const { api } = await console.browser();
    const body = { action: 'block', serials: ['x'.repeat(limits.bodyBytes)] };
    expect((await api('/devices/bulk', { method: 'POST', body })).status).toBe(413);
    const tooMany = { action: 'block', serials: Array.from({ length: 1001 }, (_, index) => `S${index}`) };
    expect((await api('/devices/bulk', { method: 'POST', body: tooMany })).status).toBe(400);
    for (const text of ['{"__proto__":{"role":"operator"}}', '{"constructor":{"prototype":{}}}', '{', '[]', '"'])
      expect(
        (await api('/devices', { method: 'POST', body: text, headers: { 'content-type': 'application/json' } })).status,
      ).toBe(400);
  });

  it('to a path that is written in another way is no way around the check of its caller', async () => {
    const viewer = await console.browser(await resetPassword(console.dataDir, 'viewer'));
    const paths = [
      '/api//v1/devices',
      '//api/v1/devices',
      '/API/v1/devices',
      '/api/v1/./devices',
      '/api/v1/devices;a=b',
      '/api/v1/devices%2f',
      '/api/v1/%64evices',
      '/api/v1/devices/:serial',
      '/api/v1/devices/',
      '/api/v1/devices?token=x',
      '/api/v1/devices?authorization=Bearer+x',
    ];
    for (const path of paths) expect([401, 404], path).toContain((await console.call(path)).status);
    for (const method of ['HEAD', 'OPTIONS', 'TRACE', 'PATCH', 'PUT', 'PROPFIND'])
      expect([400, 404], method).toContain((await viewer.api('/devices/SN-1/block', { method })).status);
    const overridden = { 'x-http-method-override': 'DELETE', 'x-method-override': 'DELETE' };
    await viewer.api('/devices/SN-1?_method=DELETE', { headers: overridden });
    expect(console.operator.row('SN-1')?.state).toBe('registered');
  });

  it('for the head of the stream of events gets an answer, and takes no place among those who watch', async () => {
    const { api } = await console.browser();
    expect((await api('/events', { method: 'HEAD' })).status).toBe(404);
    expect(console.watchers()).toBe(0);
  });

  it('is taken by TLS 1.2 with authenticated encryption and forward secrecy, or by TLS 1.3, and by nothing older', async () => {
    const suiteOf = (options: object) =>
      new Promise<string>((resolve) => {
        const to = { host: '127.0.0.1', port: console.port, ca: console.ca, servername: 'localhost' };
        const socket = connect({ ...to, ...options }, () => {
          resolve(socket.getCipher().name);
          socket.destroy();
        });
        socket.on('error', () => resolve('none'));
      });
    expect(await suiteOf({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT:@SECLEVEL=0' })).toBe('none');
    const old = ['ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384', 'AES128-GCM-SHA256', 'AES256-SHA'];
    for (const ciphers of old)
      expect([ciphers, await suiteOf({ maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` })]).toEqual([
        ciphers,
        'none',
      ]);
    expect(await suiteOf({ maxVersion: 'TLSv1.2' })).toMatch(/^ECDHE-.*(GCM|CHACHA20)/);
    expect(await suiteOf({})).toMatch(/^TLS_/);
  });

  it('that comes too slowly is ended, and holds up no other', async () => {
    const before = limits.headersMs;
    expect(before).toBeLessThanOrEqual(10_000);
    const slow = connect({ host: '127.0.0.1', port: console.port, ca: console.ca, servername: 'localhost' });
    const ended = new Promise<void>((resolve) => slow.on('close', () => resolve()).on('error', () => {}));
    slow.write('GET / HTTP/1.1\r\nhost: localhost\r\n');
    const drip = setInterval(() => slow.write('x-drip: 1\r\n'), 500);
    try {
      expect((await console.call('/')).status).toBe(200);
      await ended;
    } finally {
      clearInterval(drip);
    }
  });

  it('shows no secret: no hash of a token, no sealed key, no kept reply, and a token only in the answer that makes it', async () => {
    const { api } = await console.browser();
    const made = await api('/devices', { method: 'POST', body: { serial: 'SN-SECRET' } });
    expect(made.status).toBe(201);
    const { token } = made.body as { token: string };
    const row = console.operator.row('SN-SECRET');
    const secrets = [token, row?.tokenHash ?? '?', console.password, 'sealed'];
    for (const path of [...pages.filter((page) => page !== '/events'), '/devices/SN-SECRET', '/session']) {
      const { text } = await api(path);
      for (const secret of secrets) expect(text, path).not.toContain(secret);
    }
    expect(console.logText()).not.toContain(token);
    // a field that a part gives and the call does not name
    const { text, body } = await api('/settings');
    expect(body).toEqual([{ name: 'CVM_X', value: '***', from: 'default' }]);
    expect(text).not.toContain('what nobody may see');
  });
});

describe('many calls of one caller', () => {
  let console: TestConsole;
  afterEach(() => console.close());

  it('are told to wait, the sooner the more each reads, whether by session or token; an operator beside a viewer is served', async () => {
    console = await startTestConsole({ deps: { pace: { points: 200, seconds: 600 } } });
    const viewing = await resetPassword(console.dataDir, 'viewer');
    const statuses: Record<string, number> = {};
    for (let number = 0; number < 8; number++) {
      // a new session is no new caller
      const { api } = await console.browser(viewing);
      const answer = await api('/devices/SN-1');
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      if (answer.status === 429) {
        expect(answer.body.error.code).toBe('TooManyCalls');
        expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      }
    }
    expect(statuses).toEqual({ 200: 5, 429: 3 });
    const operator = await console.browser();
    expect((await operator.api('/devices/SN-1')).status).toBe(200);
    for (let number = 0; number < 32; number++) expect((await operator.api('/now')).status).toBe(200);
    expect((await operator.api('/now')).status).toBe(429);
  });

  it('wait for one another where each reads much, and those of viewers do not keep an operator waiting', async () => {
    let [running, most] = [0, 0];
    let letGo: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const explained = {
      device: { serial: 'SN-1', state: 'unknown' },
      verdict: { id: 'x', title: 'x', cause: '', cure: '', state: 'ok' },
      timeline: [],
    } as const;
    const explain = async (serial: string) => {
      most = Math.max(most, ++running);
      if (serial === 'SN-SLOW') await held;
      running--;
      return explained as never;
    };
    console = await startTestConsole({ deps: { explain, pace: { points: 100_000, seconds: 600 } } });
    const viewer = await console.browser(await resetPassword(console.dataDir, 'viewer'));
    const operator = await console.browser();
    const agent = new Agent({ keepAlive: true, maxSockets: 60 });
    let refused = 0;
    const waiting = Array.from({ length: 50 }, async () => {
      const answer = await viewer.api('/devices/SN-SLOW', { agent });
      if (answer.status === 429) refused++;
      return answer;
    });
    await expect.poll(() => running).toBe(4);
    // all have come: those for whom there is no room to wait have their answer
    await expect.poll(() => refused).toBe(14);
    expect((await operator.api('/devices/SN-1')).status).toBe(200);
    letGo();
    const statuses = (await Promise.all(waiting)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(36);
    expect(statuses.filter((status) => status === 429)).toHaveLength(14);
    // four of viewers, and one of an operator
    expect(most).toBe(5);
    agent.destroy();
  });

  it('that send files at the same time have two in memory, and the others are refused before they are read', async () => {
    console = await startTestConsole();
    const { cookie, csrf, api } = await console.browser();
    const head = (path: string) =>
      [
        `POST /api/v1${path} HTTP/1.1`,
        'host: localhost',
        `cookie: ${cookie}`,
        `x-csrf-token: ${csrf}`,
        'content-type: text/csv',
        `content-length: ${15 * 1024 * 1024}`,
      ].join('\r\n');
    const upload = (path: string) => {
      const socket = connect({ host: '127.0.0.1', port: console.port, ca: console.ca, servername: 'localhost' });
      socket.on('error', () => {});
      const answer = new Promise<string>((resolve) => socket.on('data', (chunk: Buffer) => resolve(chunk.toString())));
      // the rest never comes
      socket.write(`${head(path)}\r\n\r\nserial\n`);
      return { socket, answer };
    };
    const opened = [upload('/devices/import'), upload('/devices/import/preview')];
    // whichever of them came last
    const refused = () => {
      opened.push(upload('/devices/import/preview'));
      return Promise.race([...opened.map(({ answer }) => answer), delay(2000).then(() => '')]);
    };
    await expect.poll(refused).toMatch(/^HTTP\/1.1 429 .*"Busy"/s);
    for (const { socket } of opened) socket.destroy();
    // their places are free again when they have gone
    const send = () =>
      api('/devices/import/preview', {
        method: 'POST',
        body: 'serial\nSN-1\n',
        headers: { 'content-type': 'text/csv' },
      });
    await expect.poll(async () => (await send()).status).toBe(200);
    for (let number = 0; number < 3; number++) expect((await send()).status).toBe(200);
  });
});
