import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DescribeCertificateCommand, ListThingPrincipalsCommand, ListThingsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

const devices = sized(500);

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

describe.skipIf(lacks('redis-server'))('cvm sim', () => {
  let gateway: Gateway;
  let empty: string;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'warn' });
    empty = mkdtempSync(join(tmpdir(), 'cvm-sim-'));
  });
  afterAll(async () => {
    await gateway?.close();
    rmSync(empty, { recursive: true, force: true });
  });

  it(`provisions ${devices} devices: ${devices} things, each with exactly one ACTIVE certificate`, {
    timeout: 300_000,
  }, async () => {
    const env = {
      ...process.env,
      CVM_DATA_DIR: empty,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_ENDPOINT_URL_IOT: gateway.aws.httpUrl,
      AWS_ENDPOINT_URL_DYNAMODB: gateway.aws.httpUrl,
    };
    const { stdout } = await run(
      process.execPath,
      [
        cvm,
        'sim',
        '--devices',
        String(devices),
        '--host',
        'localhost',
        '--port',
        String(gateway.broker.port),
        '--ca',
        gateway.broker.caFile,
        '--flow',
        'ec',
        '--json',
      ],
      { env },
      // if the status is 1, the report says why
    ).catch((failed: { stdout: string }) => failed);
    expect(JSON.parse(stdout)).toMatchObject({ accepted: devices });

    const things = await allThings();
    expect(things).toHaveLength(devices);
    const active = await Promise.all(things.map(activeCertificates));
    expect(active.filter((count) => count !== 1)).toEqual([]);
  });

  async function allThings(): Promise<string[]> {
    const names: string[] = [];
    let nextToken: string | undefined;
    do {
      const page = await gateway.iot.send(new ListThingsCommand({ maxResults: 250, nextToken }));
      names.push(...(page.things ?? []).map((thing) => thing.thingName ?? ''));
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
    return names;
  }

  async function activeCertificates(thingName: string): Promise<number> {
    const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName }));
    const states = await Promise.all(
      principals.map((arn) =>
        gateway.iot.send(new DescribeCertificateCommand({ certificateId: arn.split('/').at(-1) })),
      ),
    );
    return states.filter((state) => state.certificateDescription?.status === 'ACTIVE').length;
  }
});
