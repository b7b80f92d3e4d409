import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiToken, revokeApiToken } from '../../console/api-tokens.ts';
import { resetPassword } from '../../console/password.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';

describe('who signs in to the console', () => {
  let console: TestConsole;
  beforeAll(async () => {
    console = await startTestConsole({ signIn: { ofAddress: 5, ofAll: 1000, seconds: 60 } });
  });
  afterAll(() => console.close());

  it('gets a session of another id than one that was planted in the browser before', async () => {
    const planted = 'p'.repeat(43);
    const { cookie } = await console.browser();
    const headers = { cookie: `${cookie.split('=', 1)[0]}=${planted}` };
    const answer = await console.api('/session', { method: 'POST', body: { password: console.password }, headers });
    expect(String(answer.headers['set-cookie'])).not.toContain(planted);
    // no page of another site makes the browser send it, and no script reads it
    expect(String(answer.headers['set-cookie'])).toMatch(/; Path=\/; Secure; HttpOnly; SameSite=Strict$/);
    expect((await console.api('/session', { headers })).status).toBe(401);
  });

  it('stays signed in at one gateway when signing in at another of the same host, and tells neither the session of the other', async () => {
    const other = await startTestConsole();
    const here = await console.browser();
    const there = await other.browser();
    // a browser keeps one value for a name, and sends the cookies of a host to each of its ports
    const nameOf = (cookie: string) => cookie.split('=', 1)[0];
    expect(nameOf(there.cookie)).not.toBe(nameOf(here.cookie));
    const headers = { cookie: `${there.cookie}; ${here.cookie}` };
    expect((await console.api('/session', { headers })).status).toBe(200);
    expect((await other.api('/session', { headers })).status).toBe(200);
    await other.close();
  });

  it('ends the session that the browser had: two sign-ins make one session', async () => {
    const first = await console.browser();
    await first.api('/session', { method: 'POST', body: { password: console.password } });
    expect((await first.api('/session')).status).toBe(401);
  });

  it('has no session after signing out, though the cookie is sent again', async () => {
    const { api } = await console.browser();
    await api('/session', { method: 'DELETE' });
    expect((await api('/devices')).status).toBe(401);
  });

  it('loses every session when the password is made anew', async () => {
    const viewer = await resetPassword(console.dataDir, 'viewer');
    const { api } = await console.browser(viewer);
    expect((await api('/devices')).status).toBe(200);
    await resetPassword(console.dataDir, 'viewer');
    expect((await api('/devices')).status).toBe(401);
  });

  it('cannot make a session by writing to Redis', async () => {
    const { redis } = console.server;
    const { cookie, api } = await console.browser();
    const [key = ''] = (await redis.keys('*console:session:*')).filter((name) => !name.includes('attempts'));
    const keys = await redis.keys('*console:session:*');
    // what Redis has does not tell the id, and a text that was changed is no session
    for (const name of keys) expect(name + (await redis.get(name))).not.toContain(cookie.split('=')[1]);
    expect(key).not.toBe('');
    for (const name of keys)
      await redis.set(name, ((await redis.get(name)) ?? '').replaceAll('"operator"', '"viewer"'));
    expect((await api('/session')).status).toBe(401);
  });

  it('is told to wait after some wrong passwords, from that address only, also with the right one', async () => {
    const wrong = (from: string) =>
      console.api('/session', { method: 'POST', body: { password: 'wrong' }, headers: { 'x-forwarded-for': from } });
    const statuses: number[] = [];
    for (let count = 0; count < 7; count++) statuses.push((await wrong(`192.0.2.${count}`)).status);
    // the header of a stranger is not believed: all of these came from one address
    expect(statuses).toContain(429);
    const right = await console.api('/session', { method: 'POST', body: { password: console.password } });
    expect(right.status).toBe(429);
    expect(Number(right.headers['retry-after'])).toBeGreaterThan(0);
    expect(right.text).not.toContain(console.password);
    await console.server.redis.flushall();
  });

  it('is not locked out by strangers at many addresses, once it has signed in from its own', async () => {
    const proxied = await startTestConsole({
      env: { CVM_CONSOLE_TRUSTED_HEADER: 'X-Forwarded-User', CVM_CONSOLE_TRUSTED_FROM: '127.0.0.1' },
      signIn: { ofAddress: 5, ofAll: 8, seconds: 60 },
    });
    try {
      const from = (address: string) => ({ 'x-forwarded-for': address });
      await proxied.browser(proxied.password, from('192.0.2.1'));
      const wrong = (address: string) =>
        proxied.api('/session', { method: 'POST', body: { password: 'wrong' }, headers: from(address) });
      const statuses: number[] = [];
      for (let number = 0; number < 20; number++) statuses.push((await wrong(`198.51.100.${number}`)).status);
      expect(statuses.slice(-5)).toEqual([429, 429, 429, 429, 429]);
      await proxied.browser(proxied.password, from('192.0.2.1'));
      // nor has it more attempts of its own than others
      const own: number[] = [];
      for (let number = 0; number < 8; number++) own.push((await wrong('192.0.2.1')).status);
      expect(own.at(-1)).toBe(429);
    } finally {
      await proxied.close();
    }
  });

  it('guesses the password of operators no faster with the one of viewers in between', async () => {
    await console.server.redis.flushall();
    const viewer = await resetPassword(console.dataDir, 'viewer');
    const statuses: number[] = [];
    for (let round = 0; round < 4; round++) {
      for (let guess = 0; guess < 3; guess++)
        statuses.push((await console.api('/session', { method: 'POST', body: { password: 'guess' } })).status);
      await console.api('/session', { method: 'POST', body: { password: viewer } });
    }
    expect(statuses.filter((status) => status === 401).length).toBeLessThanOrEqual(5);
    await console.server.redis.flushall();
  });

  it('cannot use an API token that was revoked, that has ended, or whose secret is another', async () => {
    const made = await createApiToken(console.dataDir, { name: 'exporter', role: 'viewer' }, Date.now());
    const ended = await createApiToken(console.dataDir, { name: 'short', role: 'viewer', lifetimeMs: 1 }, 0);
    if (made.outcome !== 'created' || ended.outcome !== 'created') throw new Error('no token was made');
    const statusOf = async (token: string) =>
      (await console.api('/devices', { headers: { authorization: `Bearer ${token}` } })).status;
    expect(await statusOf(made.token)).toBe(200);
    expect(await statusOf(ended.token)).toBe(401);
    expect(await statusOf(`${made.token.slice(0, -4)}AAAA`)).toBe(401);
    await revokeApiToken(console.dataDir, 'exporter');
    expect(await statusOf(made.token)).toBe(401);
  });

  it('leaves neither password nor token nor session in the log or the audit trail', async () => {
    const { cookie, csrf } = await console.browser();
    const text = `${console.logText()} ${console.operator.events.join(' ')}`;
    for (const secret of [console.password, cookie.split('=')[1] ?? '?', csrf]) expect(text).not.toContain(secret);
  });
});

describe('a reverse proxy that names the person', () => {
  it('that passes on a made-up address, or a person twice, gives a stranger neither more attempts nor a name', async () => {
    const proxied = await startTestConsole({
      env: { CVM_CONSOLE_TRUSTED_HEADER: 'From', CVM_CONSOLE_TRUSTED_FROM: '127.0.0.1', CVM_CONSOLE_OPERATORS: 'ada' },
      signIn: { ofAddress: 5, ofAll: 1000, seconds: 60 },
    });
    try {
      const statuses: number[] = [];
      for (let number = 0; number < 8; number++) {
        const headers = { 'x-forwarded-for': `no address ${number}` };
        statuses.push((await proxied.api('/session', { method: 'POST', body: { password: 'x' }, headers })).status);
      }
      expect(statuses.slice(-3)).toEqual([429, 429, 429]);
      expect(proxied.operator.events.join(' ')).not.toContain('no address');
      // Node.js keeps the first of some headers, which would be that of the stranger
      const twice = connect({ host: '127.0.0.1', port: proxied.port, ca: proxied.ca, servername: 'localhost' });
      const answer = new Promise<string>((resolve) => twice.on('data', (chunk: Buffer) => resolve(chunk.toString())));
      twice.write('GET /api/v1/session HTTP/1.1\r\nhost: localhost\r\nfrom: ada\r\nfrom: eve\r\n\r\n');
      expect(await answer).toMatch(/^HTTP\/1.1 401/);
      twice.destroy();
    } finally {
      await proxied.close();
    }
  });

  it('is believed from its address only, and a person that is no operator only looks', async () => {
    const trusted = { CVM_CONSOLE_TRUSTED_HEADER: 'X-Forwarded-User', CVM_CONSOLE_OPERATORS: 'ada@example.com' };
    const proxied = await startTestConsole({ env: { ...trusted, CVM_CONSOLE_TRUSTED_FROM: '127.0.0.1' } });
    const foreign = await startTestConsole({ env: { ...trusted, CVM_CONSOLE_TRUSTED_FROM: '192.0.2.1' } });
    try {
      const as = (person: string) => ({ headers: { 'x-forwarded-user': person } });
      expect((await foreign.api('/session', as('ada@example.com'))).status).toBe(401);
      const session = await proxied.api('/session', as('ada@example.com'));
      expect(session.body).toMatchObject({ person: 'ada@example.com', role: 'operator', by: 'proxy' });
      const eve = await proxied.api('/session', as('eve@example.com'));
      expect(eve.body).toMatchObject({ role: 'viewer' });
      // without the token of a page of ours, the header alone changes nothing; nor does that of another person, or of another gateway
      const body = { serial: 'SN-1' };
      const enrol = (person: string, csrf: string) =>
        proxied.api('/devices', {
          method: 'POST',
          body,
          headers: { ...as(person).headers, ...(csrf === '' ? {} : { 'x-csrf-token': csrf }) },
        });
      for (const csrf of ['', eve.body.csrf, 'a'.repeat(43)])
        expect((await enrol('ada@example.com', csrf)).body.error.code).toBe('CsrfTokenMissing');
      expect((await enrol('eve@example.com', eve.body.csrf)).body.error.code).toBe('Forbidden');
      expect((await enrol('ada@example.com', session.body.csrf)).status).toBe(201);
      expect(proxied.operator.events).toContain('enrolled SN-1 console:ada@example.com');
      // and without the proxy it is of no use
      const headers = { 'x-csrf-token': session.body.csrf };
      expect((await proxied.api('/devices', { method: 'POST', body, headers })).status).toBe(401);
    } finally {
      await Promise.all([proxied.close(), foreign.close()]);
    }
  });

  it('opens no session for a call without a cookie, and the trail has the sign-in of a person once, however often it calls', async () => {
    const clock = { ahead: 0 };
    const proxied = await startTestConsole({
      env: { CVM_CONSOLE_TRUSTED_HEADER: 'X-Forwarded-User', CVM_CONSOLE_TRUSTED_FROM: '127.0.0.1' },
      deps: { now: () => Date.now() + clock.ahead },
    });
    try {
      const as = (person: string) => ({ headers: { 'x-forwarded-user': person } });
      const calls = await Promise.all(Array.from({ length: 40 }, () => proxied.api('/session', as('ada'))));
      expect(calls.map(({ status }) => status)).toEqual(calls.map(() => 200));
      expect(calls.filter(({ headers }) => headers['set-cookie'] !== undefined)).toEqual([]);
      await proxied.api('/session', as('eve'));
      expect(await proxied.server.redis.keys('*console:session:*')).toEqual([]);
      expect(proxied.operator.events).toEqual(['signed-in console:ada 127.0.0.1', 'signed-in console:eve 127.0.0.1']);
      // there is nothing that could be signed out
      const csrf = (await proxied.api('/session', as('ada'))).body.csrf;
      const out = (method: string) =>
        proxied.api('/session', { method, headers: { ...as('ada').headers, 'x-csrf-token': csrf } });
      expect((await out('DELETE')).body.error.code).toBe('SignedInElsewhere');
      // a page that was loaded in the shift before goes on, and one of the day before is loaded anew
      clock.ahead = 12 * 3_600_000;
      expect((await out('DELETE')).status).toBe(409);
      clock.ahead = 24 * 3_600_000;
      expect((await out('DELETE')).status).toBe(403);
    } finally {
      await proxied.close();
    }
  });
});
