import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';

afterEach(() => vi.unstubAllEnvs());

it('the stand-in hands DynamoDB calls on where a test run names another DynamoDB, with tables of its own for each data folder', async () => {
  const callers: string[] = [];
  const other = createServer((request, response) => {
    callers.push(/Credential=([^/]*)/.exec(request.headers.authorization ?? '')?.[1] ?? '');
    request.resume().on('end', () => response.end(JSON.stringify({ TableNames: ['theirs'] })));
  });
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void other.close());
  vi.stubEnv('STAND_IN_DYNAMODB_URL', `http://127.0.0.1:${(other.address() as { port: number }).port}`);
  for (const _each of ['one', 'two']) {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-forward-'));
    const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    expect((await client.send(new ListTablesCommand())).TableNames).toEqual(['theirs']);
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true });
  }
  expect(callers).toEqual([expect.stringMatching(/^[0-9a-f]{20}$/), expect.stringMatching(/^[0-9a-f]{20}$/)]);
  expect(callers[0]).not.toBe(callers[1]);
});
