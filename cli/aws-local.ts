import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { App } from '../app/app.ts';
import { startAwsLocal } from '../aws-local/main.ts';
import { localAwsFile } from './environment.ts';
import { serve } from './program.ts';

export function awsLocalCommand(): Command {
  return new Command('aws-local')
    .description('the stand-in for AWS IoT Core and DynamoDB by itself, for development and tests')
    .action(() => serve((app) => runAwsLocal(app, app.settings.listen)));
}

/** Starts the stand-in and notes in the data folder where it is, so that other commands find it. */
export async function runAwsLocal({ settings, log, lifecycle }: App, host: string) {
  const { httpPort, mqttPort, quotas, keyPool } = settings.awsLocal;
  const local = await startAwsLocal({
    dataDir: join(settings.dataDir, 'aws-local'),
    host,
    httpPort,
    mqttPort,
    quotas,
    keyPool,
    log,
  });
  const file = localAwsFile(settings.dataDir);
  lifecycle.add({
    name: 'aws-local',
    async close() {
      await local.close();
      rmSync(file, { force: true });
    },
  });
  writeFileSync(
    file,
    JSON.stringify({ httpUrl: local.httpUrl, mqttPort: local.mqttPort, rootCaFile: local.rootCaFile }),
  );
  chmodSync(file, 0o600);
  log.info({ http: local.httpUrl, mqtt: local.mqttPort, rootCa: local.rootCaFile }, 'the AWS stand-in is listening');
  return local;
}
