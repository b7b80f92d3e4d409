import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildFolder, compile, exampleC, lacksMbedtls } from '../support/c-build.ts';
import { readGoldenPublish } from '../support/golden.ts';
import { goldenTime } from '../support/time.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8');
const snippets = [...page.matchAll(/^```c\n([\s\S]*?)^```/gm)].map(([, code = '']) => code);

describe.skipIf(lacksMbedtls())('the C of docs/protocol.md', () => {
  let build: ReturnType<typeof buildFolder>;
  let program: string;
  beforeAll(() => {
    build = buildFolder();
    const code = join(build.path, 'page.h');
    writeFileSync(code, snippets.join('\n'));
    const key = goldenTime.publicKey.replace(/../g, '0x$&,');
    program = compile(join(build.path, 'page'), [
      ...[`-I${join(import.meta.dirname, '../c')}`, `-DPAGE="${code}"`, `-DTIME_KEY=${key}`],
      ...['page-device.c', 'ram-store.c'].map((name) => join(import.meta.dirname, '../c', name)),
      ...['cvm_client.c', 'cvm_mbedtls.c'].map((name) => join(exampleC, name)),
      ...['-lmbedx509', '-lmbedcrypto'],
    ]);
  });
  afterAll(() => build?.remove());

  const play = (lines: readonly string[]) =>
    spawnSync(program, { input: lines.map((line) => `${line}\n`).join(''), encoding: 'utf8' })
      .stdout.trim()
      .split('\n');
  const reply = (name: string) => `reply ${readGoldenPublish(`small-packets/${name}`).payload.toString('hex')}`;

  it('stands in three places: waiting, parts, time', () => {
    expect(snippets.length).toBe(3);
  });

  it('puts the golden parts together, and asks for one that is missing', () => {
    const parts = [0, 1, 3, 2, 3, 4, 5, 6, 7, 8, 9].map((part) => reply(`part-${part}`));
    const did = play(parts).filter((line) => !line.startsWith('timer'));
    expect(did).toEqual(['ask 0', `clock ${goldenTime.time}`, 'ask 2', 'stored AABBCCDDEE01', 'ask 0']);
  });

  it('waits, leaves, or ends, as it is told', () => {
    const told = ['pending', 'pending-unknown', 'rejected', 'rejected-for-good'].map(reply);
    const did = play(told).filter((line) => !/^(timer 10|log .* .*)$/.test(line));
    expect(did).toEqual(['ask 0', 'timer 96', 'leave 95', 'log Throttled', 'leave 10', 'log InvalidToken', 'ask 0']);
  });

  it('sets the clock by a signed time, and by no other', () => {
    const { nonce, cbor, time } = goldenTime;
    expect(play([`time ${nonce.replace('0', '1')} ${cbor}`, `time ${nonce} ${cbor}`])).toEqual([
      'ask 0',
      `clock ${time}`,
      'ask 0',
    ]);
  });
});
