import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { fetchCredentials } from '../../aws/role-alias.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';

const secret = 'canary-5c2e';
const credentials = {
  accessKeyId: 'ASIA',
  secretAccessKey: secret,
  sessionToken: secret,
  expiration: '2099-01-01T00:00:00Z',
};

describe('something that answers in place of the credentials provider', () => {
  const root = mkdtempSync(join(tmpdir(), 'cvm-foreign-'));
  const [theirs, others] = [join(root, 'theirs'), join(root, 'others')];
  const tlsIn = (dataDir: string, name: string) => join(dataDir, 'tls', name);
  beforeAll(async () => {
    for (const dataDir of [theirs, others])
      await loadTlsMaterial({ dataDir, hostnames: ['localhost'], machineName: 'gateway' });
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  async function ask(answer: RequestListener, ca = tlsIn(theirs, 'site-ca.crt')) {
    const asked: string[] = [];
    const [cert, key] = ['server.crt', 'server.key'].map((name) => readFileSync(tlsIn(theirs, name)));
    const server = createServer({ cert, key }, (request, response) => {
      asked.push(request.url ?? '');
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const endpoint = `localhost:${(server.address() as AddressInfo).port}`;
    const [certFile, keyFile] = [tlsIn(others, 'server.crt'), tlsIn(others, 'server.key')];
    const failed = await fetchCredentials({ name: 'workers', certFile, keyFile, endpoint, rootCaFile: ca }).then(
      () => undefined,
      (error: Error & { cure?: string; lasts?: boolean }) => error,
    );
    return { failed, asked };
  }

  it('gives none with a certificate of another CA: it is told nothing, and the cure names the name and TLS inspection', async () => {
    const { failed, asked } = await ask(
      (_request, response) => response.end(JSON.stringify({ credentials })),
      tlsIn(others, 'site-ca.crt'),
    );
    expect(failed).toMatchObject({ lasts: true, cure: expect.stringMatching(/CVM_ROLE_ALIAS_ENDPOINT.*inspects TLS/) });
    expect(asked).toEqual([]);
  });

  it('is not followed to another address', async () => {
    const { failed, asked } = await ask((request, response) =>
      request.url === '/elsewhere'
        ? response.end(JSON.stringify({ credentials }))
        : response.writeHead(302, { location: '/elsewhere' }).end(),
    );
    expect(failed?.message).toMatch(/HTTP 302/);
    expect(asked).toEqual(['/role-aliases/workers/credentials']);
  });

  it('gives none by an answer that has only a part of them, or has no end, and its text is in no error', async () => {
    for (const body of [
      JSON.stringify({ credentials: { ...credentials, sessionToken: '' } }),
      JSON.stringify({ credentials: { ...credentials, expiration: 'soon' } }),
      `<html>${secret}</html>`,
      JSON.stringify({ credentials, more: 'x'.repeat(100_000) }),
    ]) {
      const { failed } = await ask((_request, response) => response.end(body));
      expect(failed).toBeDefined();
      expect(`${failed?.message} ${failed?.cure} ${failed?.stack}`).not.toContain(secret);
    }
  });
});
