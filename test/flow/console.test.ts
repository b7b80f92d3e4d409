import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listCures, listFault } from '../../operator/list-faults.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';

describe('the console', () => {
  let console: TestConsole;
  beforeAll(async () => {
    console = await startTestConsole({ env: { CVM_SITE: 'plant-1' } });
  });
  afterAll(() => console.close());

  it('signs a person in by the password of the first start, says who that is, and signs out', async () => {
    expect((await console.api('/session')).status).toBe(401);
    const { api, answer } = await console.browser();
    expect(answer.body).toMatchObject({ person: 'operator', role: 'operator', site: 'plant-1' });
    expect(String(answer.headers['set-cookie'])).toMatch(
      /^__Host-cvm-console-[\w-]{8}=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict$/,
    );
    expect((await api('/session')).body).toEqual(answer.body);
    expect((await api('/session', { method: 'DELETE' })).status).toBe(204);
    expect((await api('/session')).status).toBe(401);
    expect(console.operator.events).toEqual(['signed-in console:operator 127.0.0.1', 'signed-out console:operator']);
  });

  it('lists devices page by page in the order of their serials, by state, site and the begin of the serial', async () => {
    const serials = Array.from({ length: 120 }, (_, index) => `SN-${String(index).padStart(3, '0')}`);
    await console.keeper.put(
      serials.map((serial, index) => ({
        serial,
        state: index % 3 === 0 ? 'registered' : 'enrolled',
        ofSite: index % 2 === 0,
        ...(index % 3 === 0 ? { requestedAt: 1_700_000_000 + index, registeredAt: 1_700_000_002 } : {}),
      })),
    );
    const { api } = await console.browser();
    const list = async (query: string) => {
      const answer = await api(`/devices?${query}`);
      expect(answer.status, answer.text).toBe(200);
      return answer.body as { devices: { serial: string }[]; next?: string; total: number };
    };
    const seen: string[] = [];
    for (let next: string | undefined = ''; next !== undefined; ) {
      const page: Awaited<ReturnType<typeof list>> = await list(`limit=50&after=${next}`);
      expect(page.total).toBe(120);
      seen.push(...page.devices.map(({ serial }) => serial));
      next = page.next;
    }
    expect(seen).toEqual(serials);
    expect((await list('prefix=SN-01&limit=3')).devices.map(({ serial }) => serial)).toEqual([
      'SN-010',
      'SN-011',
      'SN-012',
    ]);
    expect(await list('prefix=SN-01')).toMatchObject({ total: 10 });
    expect(await list('state=registered')).toMatchObject({ total: 40 });
    expect(await list('state=registered&site=plant-1')).toMatchObject({ total: 20 });
    expect(await list('site=elsewhere')).toEqual({ devices: [], total: 0 });
    expect((await list('prefix=SN-000')).devices).toEqual([
      {
        serial: 'SN-000',
        state: 'registered',
        site: 'plant-1',
        requestedAt: '2023-11-14T22:13:20.000Z',
        registeredAt: '2023-11-14T22:13:22.000Z',
      },
    ]);
    await console.keeper.put([{ serial: 'SN-000', state: 'blocked', ofSite: false }]);
    expect((await list('prefix=SN-000')).devices).toEqual([{ serial: 'SN-000', state: 'blocked' }]);
    await console.keeper.remove(['SN-000']);
    expect(await list('')).toMatchObject({ total: 119 });
  });

  it('describes its API so that a program can be generated from it: each call has a name of its own, an answer and the form of a refusal', async () => {
    const { api } = await console.browser();
    type Operation = { operationId: string; summary: string; responses: Record<string, { content?: unknown }> };
    const { paths, components } = (await api('/openapi.json')).body as {
      paths: Record<string, Record<string, Operation>>;
      components: { schemas: Record<string, unknown> };
    };
    expect(Object.keys(paths)).toContain('/api/v1/devices');
    const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
    const names = operations.map(({ operationId }) => operationId);
    expect(names.filter((name) => !/^[a-z][A-Za-z]+$/.test(name ?? ''))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
    const refusal = { 'application/json': { schema: { $ref: '#/components/schemas/Problem' } } };
    for (const { responses } of operations) {
      expect(Object.keys(responses)).toContainEqual(expect.stringMatching(/^2\d\d$/));
      expect(responses.default?.content).toEqual(refusal);
    }
    expect(components.schemas.Problem).toMatchObject({
      properties: { error: { required: ['code', 'message', 'cure'] } },
    });
  });
});

describe('an operator at the console', () => {
  let console: TestConsole;
  beforeAll(async () => {
    console = await startTestConsole();
  });
  afterAll(() => console.close());

  it('enrols, reissues, blocks, unblocks and removes a device as cvm devices does, and the audit trail names the person', async () => {
    const { api } = await console.browser();
    const post = (path: string, body: unknown = {}) => api(path, { method: 'POST', body });
    const token = expect.stringMatching(/^token-\d-of-the-operator$/);
    const enrolled = await post('/devices', { serial: 'SN-1', site: '' });
    expect([enrolled.status, enrolled.body]).toEqual([201, { serial: 'SN-1', token }]);
    expect((await post('/devices', { serial: 'SN-1' })).body.error.code).toBe('AlreadyEnrolled');
    expect((await post('/devices', { serial: 'no/serial' })).status).toBe(400);
    expect((await post('/devices/SN-1/reissue')).body).toEqual({ serial: 'SN-1', token });
    expect((await post('/devices/SN-1/block')).body).toEqual({ serial: 'SN-1', outcome: 'blocked' });
    expect((await post('/devices/SN-1/reissue')).body.error).toMatchObject({
      code: 'IsBlocked',
      cure: 'unblock it first',
    });
    expect((await post('/devices/SN-1/unblock')).body).toEqual({ serial: 'SN-1', outcome: 'unblocked' });
    expect((await api('/devices/SN-1')).body.device).toMatchObject({ serial: 'SN-1', state: 'enrolled' });
    expect((await api('/devices/SN-1', { method: 'DELETE' })).body).toMatchObject({ outcome: 'removed' });
    expect((await api('/devices/SN-1')).body).toMatchObject({
      device: { state: 'not-enrolled' },
      verdict: { id: 'unknown-serial' },
    });
    expect(console.operator.events.filter((event) => !event.startsWith('signed-in'))).toEqual(
      ['enrolled', 'reissued', 'blocked', 'unblocked', 'removed'].map((event) => `${event} SN-1 console:operator`),
    );
  });

  it('is not told that every device was seen where AWS was never asked', async () => {
    const { api } = await console.browser();
    expect((await api('/devices?silent=true')).body).toEqual({ devices: [], total: 0 });
  });

  it('does the same to many devices, each with its own outcome', async () => {
    const { api } = await console.browser();
    for (const serial of ['B-1', 'B-2']) await api('/devices', { method: 'POST', body: { serial } });
    const { body } = await api('/devices/bulk', {
      method: 'POST',
      body: { action: 'reissue', serials: ['B-1', 'B-9', 'B-2', 'B-1', '?'] },
    });
    expect(body.results.map(({ serial, outcome }: { serial: string; outcome: string }) => [serial, outcome])).toEqual([
      ['B-1', 'reissued'],
      ['B-9', 'not-enrolled'],
      ['B-2', 'reissued'],
      ['?', 'not-enrolled'],
    ]);
    expect(body.results[0].token).toMatch(/^token-/);
  });

  it('says of a label whether it is still valid: not when another operator has made a new token, or removed the device', async () => {
    const { api } = await console.browser();
    const send = (path: string, body: object) =>
      api(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
    const check = async (...labels: object[]) => (await send('/devices/labels/check', { labels })).body.worthless;
    const { token } = (await send('/devices', { serial: 'L-1' })).body;
    expect(await check({ serial: 'L-1', token })).toEqual([]);
    const second = (await send('/devices/L-1/reissue', {})).body;
    expect(await check({ serial: 'L-1', token }, { serial: 'L-1', token: second.token })).toEqual([
      expect.objectContaining({ serial: 'L-1', why: 'reissued' }),
    ]);
    expect(await check({ serial: 'L-gone', token })).toEqual([expect.objectContaining({ why: 'removed' })]);
  });

  it('looks at a file of devices before it is enrolled, and gets each token once', async () => {
    const { api } = await console.browser();
    const file = 'serial;site\nC-1;\nC-2;plant\nC 3;\nC-1;\nB-1;\n';
    const send = (path: string) => api(path, { method: 'POST', body: file, headers: { 'content-type': 'text/csv' } });
    await console.server.redis.hset('{cvm}:roster', 'B-1', '{}');
    const preview = await send('/devices/import/preview');
    expect(preview.body).toMatchObject({ rows: 5, good: 2, badRows: 3 });
    expect(preview.body.bad.map(({ line }: { line: number }) => line)).toEqual([4, 5, 6]);
    // the words of `cvm devices import`
    const cures = (['serial-characters', 'serial-twice', 'already-enrolled'] as const).map(
      (id) => listFault(id, '', 'B-1').cure,
    );
    expect(preview.body.bad.map(({ cure }: { cure: string }) => cure)).toEqual(cures);
    const unknown = await api('/devices/import/preview', {
      method: 'POST',
      body: 'serial,colour\nC-1,red\n',
      headers: { 'content-type': 'text/csv' },
    });
    expect(unknown).toMatchObject({ status: 400, body: { error: { cure: listCures['column-unknown'] } } });
    expect(console.operator.row('C-1')).toBeUndefined();
    const done = await send('/devices/import');
    expect(done.body.enrolled).toEqual([
      { serial: 'C-1', token: expect.stringMatching(/^token-/) },
      { serial: 'C-2', token: expect.stringMatching(/^token-/), site: 'plant' },
    ]);
    expect(done.body.bad.map(({ line }: { line: number }) => line)).toEqual([4, 5, 6]);
    expect((await send('/devices/import')).body).toMatchObject({ enrolled: [], badRows: 5 });
  });

  it('sees what waits by place, and lets a request be served next', async () => {
    const { api } = await console.browser();
    const { redis } = console.server;
    const ids = ['first', 'second', 'third'];
    for (const [index, id] of ids.entries()) {
      await redis.hset(`{cvm}:asks:${id}`, {
        data: JSON.stringify({ serial: `SN-${id}` }),
        timestamp: Date.now() - 60_000,
      });
      // workers take from the right end
      await redis.lpush('{cvm}:asks:wait', id);
      await redis.zadd('{cvm}:line', 1_000_000 + index, id);
    }
    const line = async () => {
      const { body } = await api('/line');
      return body.requests.map(({ place, serial }: { place: number; serial: string }) => `${place} ${serial}`);
    };
    expect(await line()).toEqual(['1 SN-first', '2 SN-second', '3 SN-third']);
    const moved = await api('/line/third/front', { method: 'POST', body: {} });
    expect(moved.body).toEqual({ serial: 'SN-third', outcome: 'moved' });
    expect(await line()).toEqual(['1 SN-third', '2 SN-first', '3 SN-second']);
    expect(await redis.lrange('{cvm}:asks:wait', 0, -1)).toEqual(['second', 'first', 'third']);
    await redis.lrem('{cvm}:asks:wait', 1, 'third');
    expect((await api('/line/third/front', { method: 'POST', body: {} })).body.error.code).toBe('IsTried');
    expect((await api('/line/gone/front', { method: 'POST', body: {} })).status).toBe(404);
    expect(console.operator.events).toContain('moved-to-front SN-third third console:operator');
  });
});
