import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { createLog } from '../../runtime/log.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

describe('which AWS the programs call', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-which-'));
  let aws: AwsLocal;
  beforeAll(async () => {
    const dataDir = join(folder, 'aws');
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off', log: createLog('silent') });
  });
  afterAll(async () => {
    await aws.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG)_/.test(name)),
  );
  const run = (env: Record<string, string>, ...argv: string[]) =>
    new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve) => {
      const options = { env: { ...inherited, CVM_DATA_DIR: join(folder, 'data'), ...env } };
      const child = execFile(process.execPath, [cvm, ...argv], options, (_error, stdout, stderr) =>
        resolve({ status: child.exitCode, stdout, stderr }),
      );
    });

  it.each(['worker', 'aws setup', 'devices list', 'sweep', 'tls gateways', 'up'])(
    'is refused by cvm %s with status 2 when the settings mix an account and a stand-in, all of it at once',
    async (command) => {
      const mixed = {
        AWS_REGION: 'eu-west-1',
        AWS_ACCESS_KEY_ID: 'local',
        AWS_SECRET_ACCESS_KEY: 'local',
        AWS_ENDPOINT_URL_DYNAMODB: aws.httpUrl,
        CVM_ROOT_CA: aws.rootCaFile,
        REDIS_URL: 'redis://127.0.0.1:1/0',
      };
      const { status, stderr } = await run(mixed, ...command.split(' '));
      for (const name of ['AWS_ENDPOINT_URL_IOT', 'AWS_ACCESS_KEY_ID: "local"', 'CVM_ROOT_CA'])
        expect(stderr).toContain(`- ${name}`);
      expect(status).toBe(2);
    },
  );

  describe('with empty variables, as compose passes them', () => {
    /** EC2's metadata service, version 2, with an instance role. @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html */
    let metadata: Server;
    beforeAll(async () => {
      const role = {
        Code: 'Success',
        AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
        SecretAccessKey: 's',
        Token: 't',
        Expiration: '2099-01-01T00:00:00Z',
      };
      metadata = createServer((request, response) => {
        const path = request.url ?? '';
        if (request.method === 'PUT') response.end('a-session-token');
        else response.end(path.endsWith('/site-role') ? JSON.stringify(role) : 'site-role');
      });
      await new Promise<void>((resolve) => metadata.listen(0, '127.0.0.1', resolve));
    });
    afterAll(() => void metadata.close());

    it('is an instance role, with the region of the AWS profile, and it is said first', async () => {
      const config = join(folder, 'config');
      writeFileSync(config, '[default]\nregion = eu-north-1\n');
      const empty = {
        AWS_REGION: '',
        AWS_PROFILE: '',
        AWS_ACCESS_KEY_ID: '',
        AWS_SECRET_ACCESS_KEY: '',
        AWS_ROLE_ARN: '',
      };
      const { status, stdout, stderr } = await run(
        {
          ...empty,
          CVM_ROOT_CA: '',
          AWS_CONFIG_FILE: config,
          AWS_SHARED_CREDENTIALS_FILE: join(folder, 'none'),
          AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://127.0.0.1:${(metadata.address() as AddressInfo).port}`,
          AWS_ENDPOINT_URL: aws.httpUrl,
        },
        'aws',
        'setup',
      );
      expect(stderr).toMatch(/^cvm: AWS account: none, a stand-in; region: eu-north-1; IoT Core at http:..127/);
      expect(stdout).toContain('table cvm-devices: created');
      expect(status).toBe(0);
    });
  });
});
