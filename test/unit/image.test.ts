import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const [image, compose, example] = ['Dockerfile', 'docker-compose.yml', '.env.example'].map((file) =>
  readFileSync(file, 'utf8'),
) as [string, string, string];

describe('the image', () => {
  it('has the version of package.json in its label', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(/^ARG VERSION=(.*)$/m.exec(image)?.[1]).toBe(version);
  });

  it('has no anonymous volume', () => expect(image).not.toMatch(/^VOLUME/m));
});

describe('docker-compose.yml', () => {
  const used = [...compose.matchAll(/\$\{([A-Z_]+)(:?-[^}]*)?\}/g)].map(([, name = '', rest = '']) => ({ name, rest }));

  it('takes an empty variable for one that is not set', () => {
    expect(used.filter(({ rest }) => !rest.startsWith(':-') && rest !== '-')).toEqual([]);
  });

  it('uses no variable that .env.example does not explain', () => {
    const explained = [...example.matchAll(/^#?([A-Z_]+)=/gm)].map(([, name]) => name);
    expect(used.map(({ name }) => name).filter((name) => !explained.includes(name))).toEqual([]);
  });

  it('passes on every variable that .env.example names, but for those that it says are fixed in compose', () => {
    const fixed = [
      'COMPOSE_PROFILES',
      'CVM_AUDIT_DIR',
      // of a command that a person runs, and never kept in .env
      'CVM_BACKUP_PASSPHRASE',
      'CVM_DATA_DIR',
      'CVM_HEALTH_DIR',
      'CVM_LISTEN',
      'CVM_LOG_FILE',
      'CVM_ROLE_ALIAS_CERT',
      'CVM_ROLE_ALIAS_KEY',
      'CVM_TEMPLATES_DIR',
    ];
    const names = [...example.matchAll(/^#?([A-Z_]+)=/gm)].map(([, name = '']) => name);
    const passed = used.map(({ name }) => name);
    expect(names.filter((name) => !passed.includes(name) && !fixed.includes(name))).toEqual([]);
  });
});
