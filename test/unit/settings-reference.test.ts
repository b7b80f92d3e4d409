import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { showSettings } from '../../app/shown-settings.ts';
import { envExample, settingsPage } from '../../runtime/settings-pages.ts';
import { settingGroups, settingMeaning } from '../../runtime/settings-reference.ts';
import { defaultSettings, settingNames } from '../../runtime/settings-schema.ts';

const compose = readFileSync('docker-compose.yml', 'utf8');
const entries = settingGroups.flatMap(({ settings }) => settings);

/** `npm run settings-reference` writes the files; without that, they are compared. */
function expectSame(file: string, text: string): void {
  if (process.env.SETTINGS === 'write') writeFileSync(file, text);
  expect(readFileSync(file, 'utf8'), `${file}: run npm run settings-reference`).toBe(text);
}

describe('the reference of the settings', () => {
  it('says of every setting what it means', () => {
    expect(settingNames.filter((name) => settingMeaning(name) === undefined)).toEqual([]);
    expect(showSettings({}).filter(({ name, meaning }) => meaning === undefined && !name.startsWith('AWS_'))).toEqual(
      [],
    );
  });

  it('names each setting once', () => {
    const names = entries.map(({ name }) => name);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('is what docs/settings.md says', () => expectSame('docs/settings.md', settingsPage()));

  it('is what .env.example says', () => expectSame('.env.example', envExample()));

  it('gives the defaults that docker-compose.yml gives', () => {
    const inCompose = [...compose.matchAll(/\$\{([A-Z][A-Z0-9_]*):-([^}]*)\}/g)];
    const others = inCompose.flatMap(([, name = '', value = '']) => {
      // the reference says where compose differs
      if (entries.find((entry) => entry.name === name)?.unset?.includes('in compose')) return [];
      const usual = defaultSettings[name];
      return usual === undefined || usual === '' || usual === value ? [] : [`${name}: ${value} in compose, ${usual}`];
    });
    expect(others).toEqual([]);
    expect(inCompose.length).toBeGreaterThan(20);
  });
});
