import { join } from 'node:path';
import { Command } from 'commander';
import type { App } from '../app/app.ts';
import type { CommandLine } from './command-line.ts';
import { noteLocalAws, removeNote } from './stand-in.ts';

export function awsLocalCommand(commandLine: CommandLine): Command {
  return new Command('aws-local').action(() => commandLine.serve((app) => runAwsLocal(app, app.settings.listen)));
}

/** Starts the stand-in and notes in the data folder where it is, so that other commands find it. */
export async function runAwsLocal({ settings, log, lifecycle }: App, host: string) {
  const { dataDir, aws } = settings;
  const { httpPort, mqttPort, quotas, keyPool } = settings.awsLocal;
  const folder = join(dataDir, 'aws-local');
  const region = aws.region === undefined ? {} : { region: aws.region };
  const { startAwsLocal } = await import('../aws-local/main.ts');
  const local = await startAwsLocal({ dataDir: folder, host, httpPort, mqttPort, quotas, keyPool, ...region, log });
  lifecycle.add({
    name: 'aws-local',
    async close() {
      await local.close();
      removeNote(dataDir);
    },
  });
  noteLocalAws(dataDir, local);
  log.info({ http: local.httpUrl, mqtt: local.mqttPort, rootCa: local.rootCaFile }, 'the AWS stand-in is listening');
  return local;
}
