import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseEnvFile } from '../../runtime/env-file.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { composeNames, settingNames } from '../../runtime/settings-schema.ts';

const example = readFileSync('.env.example', 'utf8');
const compose = readFileSync('docker-compose.yml', 'utf8');
const namesIn = (text: string) => [...text.matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map(([, name = '']) => name);
const [ofCompose = '', onlyOutside = ''] = example.split('# --- Only outside compose');

describe('.env.example', () => {
  it('has every setting, also those that only compose reads', () => {
    const names = namesIn(example);
    expect([...settingNames, ...composeNames].filter((name) => !names.includes(name))).toEqual([]);
  });

  it('has nothing that is not a setting', () => {
    const known = [...settingNames, ...composeNames];
    const unknown = namesIn(example).filter((name) => !known.includes(name) && !/^(AWS|COMPOSE|NODE|OTEL)_/.test(name));
    expect(unknown).toEqual([]);
  });

  it('names for compose what docker-compose.yml reads, and nothing else', () => {
    const read = ['COMPOSE_PROFILES', ...[...compose.matchAll(/\$\{([A-Z][A-Z0-9_]*)/g)].map(([, name = '']) => name)];
    expect([...new Set(namesIn(ofCompose))].sort()).toEqual([...new Set(read)].sort());
    expect(namesIn(onlyOutside).filter((name) => read.includes(name))).toEqual([]);
  });

  it('is itself a valid configuration, of defaults', () => {
    const { variables: active, problems } = parseEnvFile(example, {});
    expect(problems).toEqual([]);
    const {
      hostnames: _hostnames,
      aws: _aws,
      awsVariables: _awsVariables,
      workerConcurrency: _concurrency,
      ...fromExample
    } = loadSettings(active);
    const {
      hostnames: _none,
      aws: _noAws,
      awsVariables: _noAwsVariables,
      workerConcurrency: _auto,
      ...defaults
    } = loadSettings({});
    expect(fromExample).toEqual(defaults);
  });
});
