import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startAwsLocal } from '../../aws-local/main.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { openTable } from '../support/association-table.ts';
import { claimCertificatesContract } from './claim-certificates-suite.ts';

async function start() {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-claims-'));
  const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
  const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
  let count = 0;
  return {
    async open(name = `devices-${++count}`) {
      const { table, claims } = openTable(client, name);
      await ensureTable(table);
      return claims;
    },
    async close() {
      client.destroy();
      await aws.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

claimCertificatesContract('DynamoDB', start);
