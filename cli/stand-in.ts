import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { App } from '../app/app.ts';
import type { requireAws } from '../app/aws.ts';
import type { AwsInUse } from '../app/which-aws.ts';
import type { AwsLocal } from '../aws-local/main.ts';
import { isAlive, ownMark, type ProcessMark } from '../runtime/process-mark.ts';
import type { Settings } from '../runtime/settings.ts';

/** Where a running stand-in is, as its process notes it in the data folder for other commands. */
export type LocalAws = Pick<AwsLocal, 'httpUrl' | 'mqttPort' | 'rootCaFile' | 'region'>;

type Note = LocalAws & { readonly process?: ProcessMark };

const noteIn = (dataDir: string) => join(dataDir, 'aws-local', 'running.json');

export function noteLocalAws(dataDir: string, { httpUrl, mqttPort, rootCaFile, region }: LocalAws): void {
  const file = noteIn(dataDir);
  writeFileSync(file, JSON.stringify({ httpUrl, mqttPort, rootCaFile, region, process: ownMark() } satisfies Note));
  chmodSync(file, 0o600);
}

export function removeNote(dataDir: string): void {
  rmSync(noteIn(dataDir), { force: true });
}

/**
 * The stand-in that runs on this data folder. The note of a process that is not known to run is ignored: it was killed, or
 * the machine was started anew.
 */
export function findLocalAws(dataDir: string): LocalAws | undefined {
  try {
    const { process: mark, ...local } = JSON.parse(readFileSync(noteIn(dataDir), 'utf8')) as Note;
    return mark !== undefined && isAlive(mark) === true ? local : undefined;
  } catch {
    return undefined;
  }
}

/** The same settings, with the stand-in as AWS. */
export function onLocalAws(settings: Settings, local: LocalAws): Settings {
  return {
    ...settings,
    aws: {
      region: local.region,
      endpoint: local.httpUrl,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    },
    rootCaFile: settings.rootCaFile ?? local.rootCaFile,
  };
}

/**
 * The AWS that a command calls, other than `cvm up`, which is told: the stand-in that runs on its data folder, unless the
 * environment names an AWS account. `remark`: one line for the person who runs the command.
 */
export function chooseAws(settings: Settings): { settings: Settings; local?: LocalAws; remark?: string } {
  const local = findLocalAws(settings.dataDir);
  if (local === undefined) return { settings };
  const { awsVariables } = settings;
  if (awsVariables.length > 0)
    return {
      settings,
      remark: `this command calls AWS, since ${awsVariables.join(', ')} ${awsVariables.length === 1 ? 'is' : 'are'} set, and not the AWS stand-in that runs on this data folder`,
    };
  return {
    settings: onLocalAws(settings, local),
    local,
    remark: `this command calls the AWS stand-in at ${local.httpUrl}, which runs on this data folder; to call AWS, set AWS_PROFILE or AWS_REGION`,
  };
}

/**
 * The same app with the AWS that its calls go to, and which that is.
 * @throws SettingsError when that is an account, and cannot be used
 */
export async function findAws(
  app: App,
  say: (remark: string) => void,
  options: Parameters<typeof requireAws>[1] = {},
): Promise<{ app: App; used: AwsInUse; local?: LocalAws | undefined }> {
  const { settings, local, remark } = chooseAws(app.settings);
  if (remark !== undefined) say(remark);
  const used =
    local === undefined
      ? await (await import('../app/aws.ts')).requireAws(app, options)
      : (await import('../app/which-aws.ts')).namedAws(settings);
  return { app: { ...app, settings }, used, local };
}
