import { expect, it } from 'vitest';
import { showCommand } from '../../cli/devices/show.ts';
import { printable } from '../../cli/output.ts';
import { coloured, plainRow } from '../../cli/table.ts';
import { wrap } from '../../cli/verdict.ts';
import { hashToken } from '../../protocol/token.ts';
import { createMemoryOperator } from '../support/operator.ts';

/** Sets the title of a terminal, clears it, hides text, turns a line around, and begins a line of its own. */
const hostile = 'pump\u001b]0;owned\u0007\u001b[2J\u001b[8m\u009b31m\u202e\u{e0041}\nSN-1 registered';
const steering = /(?!\n)[\p{Cc}\p{Cf}]/u;

it('a row of the table that somebody else wrote steers no terminal, in lines and in JSON, and adds no line', async () => {
  const { deps, registry } = createMemoryOperator();
  const tokenHash = hashToken('a token');
  await registry.enrol({ serial: 'SN-1', tokenHash, enrolledAt: 1, policyName: hostile, thingTypeName: hostile });
  const shown: string[] = [];
  const show = async (...argv: string[]) =>
    showCommand({ operator: () => deps, write: (line: string) => void shown.push(line) } as never).parseAsync(argv, {
      from: 'user',
    });
  await show('SN-1');
  expect(shown.join('')).toContain('owned');
  for (const line of shown) expect(line).not.toMatch(/\n|\u202e/);
  await show('SN-1', '--json');
  const json = printable(shown.at(-1) ?? '');
  expect(json).not.toMatch(steering);
  expect(JSON.parse(json)).toMatchObject({ policyName: hostile });
  expect(plainRow([hostile, 'x'], [])).not.toMatch(/\n|\p{Cc}/u);
  expect(wrap(hostile, 200, '')).toHaveLength(1);
});

it('every line of standard output is free of what steers a terminal, but for our colours', () => {
  expect(printable(hostile)).not.toMatch(steering);
  const red = coloured('FAIL', 'red', true);
  expect(printable(`${red} ${hostile}`).startsWith(red)).toBe(true);
  expect(printable('a\tb\nc ü 漢')).toBe('a\tb\nc ü 漢');
});
