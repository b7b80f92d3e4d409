import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseAws, noteLocalAws, removeNote } from '../../cli/stand-in.ts';
import { loadSettings } from '../../runtime/settings.ts';

const local = {
  httpUrl: 'http://127.0.0.1:4566',
  mqttPort: 8884,
  rootCaFile: '/tmp/root-ca.pem',
  region: 'eu-central-1',
};

describe('a command other than cvm up', () => {
  let dataDir: string;
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-note-'));
    mkdirSync(join(dataDir, 'aws-local'));
  });
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }));
  const chosen = (env: Record<string, string> = {}) => chooseAws(loadSettings({ CVM_DATA_DIR: dataDir, ...env }));

  it('calls AWS where no stand-in runs on its data folder', () => {
    expect(chosen()).toMatchObject({ settings: { aws: {}, rootCaFile: undefined } });
    expect(chosen().remark).toBeUndefined();
  });

  it('calls the stand-in that runs on its data folder, and says so', () => {
    noteLocalAws(dataDir, local);
    const { settings, remark } = chosen();
    expect(settings.aws).toMatchObject({ endpoint: local.httpUrl, region: local.region });
    expect(settings.rootCaFile).toBe(local.rootCaFile);
    expect(remark).toContain(`the AWS stand-in at ${local.httpUrl}`);
    removeNote(dataDir);
    expect(chosen().settings.aws).toEqual({});
  });

  it.each([
    { AWS_PROFILE: 'site' },
    { AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 's' },
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://127.0.0.1/' },
  ])('calls AWS although a stand-in runs there, where the environment names an account, and says so: %o', (env) => {
    noteLocalAws(dataDir, local);
    const { settings, remark } = chosen(env);
    expect(settings.aws).toEqual({});
    expect(remark).toContain(`calls AWS, since ${Object.keys(env).join(', ')}`);
  });

  it('takes an empty variable for none', () => {
    noteLocalAws(dataDir, local);
    expect(chosen({ AWS_PROFILE: '', AWS_ENDPOINT_URL_IOT: ' ' }).settings.aws).toMatchObject({ region: local.region });
  });

  it('does not call a stand-in whose process was killed', () => {
    noteLocalAws(dataDir, local);
    const file = join(dataDir, 'aws-local', 'running.json');
    const note = JSON.parse(readFileSync(file, 'utf8')) as { process: object };
    const { pid } = spawnSync(process.execPath, ['--version']);
    writeFileSync(file, JSON.stringify({ ...note, process: { ...note.process, pid } }));
    expect(chosen().settings.aws).toEqual({});
  });

  it('does not call a stand-in that ran before the machine was started anew', () => {
    noteLocalAws(dataDir, local);
    const file = join(dataDir, 'aws-local', 'running.json');
    const note = JSON.parse(readFileSync(file, 'utf8')) as { process: object };
    writeFileSync(file, JSON.stringify({ ...note, process: { ...note.process, where: 'box earlier-boot pid:[1]' } }));
    expect(chosen().settings.aws).toEqual({});
  });
});
