import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { commands } from '../../cli/commands.ts';
import { type CliContext, openContext } from '../../cli/context.ts';
import { describeFailure } from '../../cli/failure.ts';
import { failureText } from '../../cli/failure-text.ts';
import { prepare } from '../../cli/program.ts';
import { createApiToken } from '../../console/api-tokens.ts';
import type { Device } from '../../registry/device.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createMemoryOperator, type MemoryOperator, noTakeover, now } from '../support/operator.ts';

const guessable = '0000000000000000012345';

/** What each command refuses, of one thing or as a whole. `said` has the fields of the object on standard error, but for `status`. */
const failures: readonly (readonly [argv: readonly string[], said: object])[] = [
  ...['show', 'block', 'unblock', 'remove', 'reissue'].map(
    (command) =>
      [
        ['devices', command, 'NO-1'],
        { serial: 'NO-1', error: '"NO-1" is not enrolled', cure: 'cvm devices list shows the serials' },
      ] as const,
  ),
  [['devices', 'move', 'NO-1', '--no-site'], { serial: 'NO-1', error: '"NO-1" is not enrolled' }],
  [['devices', 'reissue', 'ODD'], { serial: 'ODD', error: /applyState is none/, cure: /^correct it in DynamoDB/ }],
  [['devices', 'reissue', 'A', '--token', guessable], { serial: 'A', error: /too few kinds of characters/ }],
  [['devices', 'add', 'A'], { serial: 'A', error: /^A is enrolled already/, cure: /cvm devices reissue A$/ }],
  [['devices', 'add', 'c d'], { serial: 'c d', error: /^"c d": a serial has 1 to 128/ }],
  [['devices', 'import', 'FILE', '--out', 'OUT'], { serial: 'A', line: 2, error: /^A is enrolled already/ }],
  [['devices', 'import', 'FILE', '--dry-run'], { serial: 'A', line: 2, error: /^A is enrolled already/ }],
  [['devices', 'import', '--from-table', 'OTHER'], { error: /no table is taken over/ }],
  [['devices', 'list'], { error: 'the table is away' }],
  [['tls', 'approve', 'g-1'], { error: 'no gateway g-1 is known', cure: /^cvm tls gateways lists them/ }],
  [['tls', 'forget-gateway', 'g-1'], { error: 'no gateway g-1 is known', cure: /^cvm tls gateways lists them/ }],
  [['tls', 'gateways'], { error: 'the table is away' }],
  [['tls', 'rotate-ca', '--finish', '--cancel'], { error: /cannot be used together/ }],
  [['tls', 'show'], { error: /the broker makes it at its first start/ }],
  [['tls', 'renew'], { error: /./ }],
  [['claims', 'revoke', '0000000000'], { error: /is the id of 0 claim/, cure: 'cvm claims list shows the ids' }],
  [
    ['claims', 'create', 'a b', ...['--template', 'a', '--serials', '*', '--most', '1', '--expires', '1h']],
    { error: /^the name of a group/ },
  ],
  [['console', 'token', 'create', 'there'], { error: 'there is an API token there already', cure: /revoke there/ }],
  [['sweep'], { error: /another sweep is running/, cure: /again/ }],
  [['templates', 'check', '/no/such.json'], { error: /cannot be read/ }],
  [['backup', '-'], { error: /passphrase/ }],
  [['explain', 'a b'], { error: /neither a serial nor/ }],
  [['audit', 'show', '--since', 'soon'], { cure: /must be a date/ }],
  [['audit', 'verify', '--expect', 'x'], { cure: /64/ }],
  [['aws', 'setup', '--role', 'x'], { cure: /A role is named like/ }],
  [['sim', '--devices', 'none'], { error: /none/ }],
  [['sim', 'compare', '/no/a.json', '/no/b.json'], { error: /a\.json/ }],
];

/** What they find is in their output. */
const withoutFailures = ['status', 'doctor', 'certify', 'console token list', 'templates list', 'claims list'];

describe('with --json', () => {
  let folder: string;
  let operator: MemoryOperator;
  let said: string[];
  let written: string[];
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-json-'));
    writeFileSync(join(folder, 'list.csv'), 'serial\nA\n');
    operator = createMemoryOperator();
    for (const serial of ['A', 'ODD']) await operator.register(serial);
    operator.rows.set('ODD', { ...(operator.row('ODD') as Device), state: 'unknown' });
    [said, written] = [[], []];
    vi.spyOn(console, 'error').mockImplementation((line: string) => void said.push(...line.split('\n')));
    vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => said.push(...String(chunk).trim().split('\n')) > 0);
    process.exitCode = undefined;
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    rmSync(folder, { recursive: true, force: true });
  });

  function context(): CliContext {
    const gone = async () => {
      throw new Error('the table is away');
    };
    async function* listed() {
      yield await gone();
    }
    const deps = { ...operator.deps, registry: { ...operator.registry, list: () => listed() as never } };
    const table = {
      gateways: { approve: async () => 'unknown', forget: async () => false, findSigningSeed: gone },
      claims: { list: async () => [] },
      lease: { take: async () => false },
    };
    return {
      ...openContext({ CVM_DATA_DIR: join(folder, 'data'), CVM_TEMPLATES_DIR: join(folder, 'none') }),
      operator: async () => deps,
      takeover: noTakeover,
      table: async () => table as never,
      audit: async () => noAudit,
      write: (line) => void written.push(line),
      terminal: undefined,
    };
  }

  async function run(argv: readonly string[]): Promise<unknown[]> {
    const [first] = argv;
    const entry = commands.find(({ name }) => name === first);
    const own = context();
    const program = new Command('cvm').addCommand((await entry?.load(async () => own)) as Command);
    await prepare(program, true)
      .parseAsync([...argv, '--json'], { from: 'user' })
      .catch((error: Error) => {
        if (error instanceof CommanderError) return;
        const { cause, cure, status } = describeFailure(error);
        process.exitCode = status;
        console.error(failureText({ cause, cure }, status, true));
      });
    return said.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  it.each(failures)('a failure is one object on standard error: %j', async (argv, { ...expected }) => {
    if (argv.includes('there')) await createApiToken(join(folder, 'data'), { name: 'there', role: 'viewer' }, now);
    const told = await run(
      argv.map((word) => ({ FILE: join(folder, 'list.csv'), OUT: join(folder, 'out') })[word] ?? word),
    );
    for (const [name, value] of Object.entries(expected))
      if (value instanceof RegExp) Object.assign(expected, { [name]: expect.stringMatching(value) });
    expect(told).toEqual([{ ...(told[0] as object), ...expected, status: expect.any(Number) }]);
    const keys = Object.keys(told[0] as object);
    expect(keys.filter((key) => !['serial', 'line', 'error', 'cure', 'status'].includes(key))).toEqual([]);
    expect(said).toHaveLength(1);
  });

  it.each([
    [['add'], ['"token":"token-'], 'A'],
    [['block'], ['"outcome":"blocked"'], 'NO-1'],
    [['unblock'], ['"outcome":"unblocked"'], 'NO-1'],
    [['remove'], ['"outcome":"removed","row":"gone"'], 'NO-1'],
    [['move', '--site', 'x'], ['"outcome":"moved","site":"x"'], 'NO-1'],
    [['reissue'], ['"token":"token-'], 'NO-1'],
  ])(
    '%j goes on with the next device, and what went well is one object on standard output',
    async (argv, [part], bad) => {
      const good = argv[0] === 'add' ? 'N' : 'A';
      const told = await run(['devices', ...argv, bad, good]);
      expect(told).toEqual([expect.objectContaining({ serial: bad, status: 1 })]);
      expect(written).toEqual([expect.stringMatching(`^{"serial":"${good}",.*`)]);
      expect(written[0]).toContain(part);
      expect(process.exitCode).toBe(1);
    },
  );

  it('is in the table above for every command that has it', async () => {
    const own = context();
    const named = new Set([...failures.map(([argv]) => argv.join(' ')), ...withoutFailures]);
    const missing: string[] = [];
    const look = (command: Command, path: string) => {
      const is = (text: string) => text === path || text.startsWith(`${path} `);
      if (command.options.some(({ long }) => long === '--json') && ![...named].some(is)) missing.push(path);
      for (const child of command.commands) look(child, `${path} ${child.name()}`);
    };
    for (const { name, load } of commands.filter((each) => each.name !== 'completion'))
      look(await load(async () => own), name);
    expect(missing).toEqual([]);
  });
});
