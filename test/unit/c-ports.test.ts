import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exampleC, lacksMbedtls } from '../support/c-build.ts';
import { lacks } from '../support/lacks.ts';

const examples = join(exampleC, '..');
/** Stand-ins for the headers of each system, with the declarations that its documentation has. */
const standIns = (system: string) => join(import.meta.dirname, '../c', system);

describe('the examples that use the library in C', () => {
  it.skipIf(lacksMbedtls() || lacks('g++'))('compile as an Arduino sketch', () => {
    const stubs = standIns('arduino');
    const argv = ['-std=c++11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-include', join(stubs, 'Arduino.h')];
    const sketch = join(examples, 'arduino/provision/provision.ino');
    execFileSync('g++', [...argv, `-I${stubs}`, `-I${exampleC}`, '-x', 'c++', sketch], { stdio: 'pipe' });
  });

  it.skipIf(lacksMbedtls()).each([
    ['zephyr', 'zephyr/src/main.c'],
    ['esp-idf', 'esp-idf/main/main.c'],
  ])('use the functions and fields of %s as they are declared', (system, file) => {
    const argv = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', `-I${standIns(system)}`];
    execFileSync('gcc', [...argv, `-I${exampleC}`, join(examples, file)], { stdio: 'pipe' });
  });

  it.each(['esp-idf/main/CMakeLists.txt', 'zephyr/CMakeLists.txt'])(
    'take it from where it is, unchanged: %s',
    (file) => {
      const list = readFileSync(join(examples, file), 'utf8');
      const [, folder = ''] = /set\(library \$\{CMAKE_CURRENT_LIST_DIR\}(\S+)\)/.exec(list) ?? [];
      const names = [...list.matchAll(/\$\{library\}\/(\S+\.c)/g)].map(([, name = '']) => name);
      expect(names).toContain('cvm_client.c');
      for (const name of names)
        expect(readFileSync(join(examples, file, '..', folder, name), 'utf8')).toContain('Apache-2.0');
    },
  );
});
