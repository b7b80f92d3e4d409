import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { composeNames, loadSettings, settingNames } from '../../runtime/settings.ts';

const example = readFileSync('.env.example', 'utf8');
const named = [...example.matchAll(/^#?([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value = '']) => ({
  name,
  value,
}));

describe('.env.example', () => {
  it('has every setting, also those that only compose reads', () => {
    const names = named.map(({ name }) => name);
    expect([...settingNames, ...composeNames].filter((name) => !names.includes(name))).toEqual([]);
  });

  it('has nothing that is not a setting', () => {
    const unknown = named
      .map(({ name }) => name)
      .filter((name) => ![...settingNames, ...composeNames].includes(name) && !/^(AWS|COMPOSE|NODE)_/.test(name));
    expect(unknown).toEqual([]);
  });

  it('is itself a valid configuration, of defaults', () => {
    const active = Object.fromEntries(
      [...example.matchAll(/^([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
    );
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
