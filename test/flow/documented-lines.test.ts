import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lacks } from '../support/lacks.ts';
import { isolated, type Run, runCvm } from '../support/program.ts';
import { full } from '../support/size.ts';

/**
 * The pages whose lines an operator types at a gateway that runs. Other pages: compose has tests of its own (`npm run test:compose`),
 * docs/protocol.md and examples/ too; docs/verification.md and CONTRIBUTING.md name whole suites; deploy/aws/README.md needs an account.
 */
const pages = [
  'README.md',
  'docs/install.md',
  'docs/aws.md',
  'docs/enrolling.md',
  'docs/explain.md',
  'docs/status.md',
  'docs/doctor.md',
];

/** What is not run here, and why. */
const notRun: readonly (readonly [pattern: RegExp, why: string])[] = [
  [
    /^(?:sudo )?npm /,
    'installs, builds or tests everything: .ci/run does it, and quick-start.test.ts what npm start runs',
  ],
  [/^(?:docker|export COMPOSE|unset COMPOSE|cp \.env)/, 'needs a container engine: npm run test:compose'],
  [/^alias cvm=/, 'a shell that is no terminal expands no alias; the test has a program of that name'],
  [/--watch/, 'does not end'],
  [/--fix/, 'mends the machine that it runs on'],
];

/** Lines that end with status 1 here, which says that something is wrong: the devices never asked, and the machine may lack memory or time. */
const mayFail = /^(?:cvm|gateway) (?:explain|doctor|status)/;

/** `cvm aws setup --plan` says so where there is something to do. */
const somethingToDo = 3;

const linesOf = (page: string): string[] =>
  [...readFileSync(page, 'utf8').matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)]
    .flatMap(([, block = '']) => block.split('\n'))
    // the stand-in needs no credentials of an administrator
    .map((line) =>
      line
        .replace(/\s+#.*$/, '')
        .replace('AWS_PROFILE=admin ', '')
        .trim(),
    )
    .filter((line) => line !== '');

/**
 * `sudo` for a test: what is installed goes below $ROOT, and needs no user of this name; services are not started, and must have their unit.
 */
const sudo = `#!/bin/bash
command=$1; shift
args=()
case "$command" in
  useradd) exit 0 ;;
  systemctl) [ -f "$ROOT/etc/systemd/system/cvm.service" ] && [ -f "$ROOT/var/lib/cvm/.env" ]; exit ;;
  --user=cvm) [ "$1" = editor ] && [ -f "$ROOT$2" ]; exit ;;
  install)
    while [ $# -gt 0 ]; do
      case "$1" in --owner=* | --group=*) ;; /*) args+=("$ROOT$1") ;; *) args+=("$1") ;; esac
      shift
    done
    mkdir -p "$ROOT/etc/systemd/system" && exec install "\${args[@]}" ;;
  *) echo "sudo $command: not known to this test" >&2; exit 1 ;;
esac
`;

describe.skipIf(lacks('redis-server'))('the lines of the pages', () => {
  const root = mkdtempSync(join(tmpdir(), 'cvm-lines-'));
  const dataDir = join(root, 'data');
  const env = {
    ...isolated(dataDir),
    ROOT: root,
    PATH: `${root}:${process.env.PATH}`,
    CVM_BACKUP_PASSPHRASE: 'of the lines of the pages',
  };
  let gateway: Run;
  beforeAll(async () => {
    mkdirSync(dataDir, { mode: 0o700 });
    const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
    writeFileSync(join(root, 'cvm'), `#!/bin/sh\nexec "${process.execPath}" "${cvm}" "$@"\n`, { mode: 0o755 });
    writeFileSync(join(root, 'sudo'), sudo, { mode: 0o755 });
    // docs/install.md: an alias, which a shell that is no terminal does not expand, and where npm has put the package
    writeFileSync(join(root, 'gateway'), '#!/bin/sh\nexec cvm "$@"\n', { mode: 0o755 });
    writeFileSync(join(root, 'npm'), `#!/bin/sh\necho "${root}/lib"\n`, { mode: 0o755 });
    mkdirSync(join(root, 'lib/cvm-gateway'), { recursive: true });
    const sum = createHash('sha256').update('package').digest('hex');
    writeFileSync(join(root, 'cvm-gateway.tgz'), 'package');
    writeFileSync(join(root, 'SHA256SUMS'), `${sum}  cvm-gateway.tgz\n`);
    for (const name of ['systemctl', 'journalctl'])
      writeFileSync(join(root, name), '#!/bin/sh\nexec sudo systemctl\n', { mode: 0o755 });
    // what the lines of docs/install.md find in a checkout
    for (const name of ['.env.example', 'deploy'])
      symlinkSync(join(import.meta.dirname, '../..', name), join(root, name));
    writeFileSync(join(root, 'devices.csv'), 'serial,site\nPUMP-1,plant-7\nPUMP-2,plant-7\n');
    gateway = runCvm(['up', '--local-aws'], env);
    await gateway.says(/broker is listening/);
    // which other pages take for granted
    await shell('cvm devices add SN-1 || true');
  });
  afterAll(async () => {
    gateway?.child.kill('SIGTERM');
    await gateway?.ended;
    rmSync(root, { recursive: true, force: true });
  });
  const shell = (line: string) =>
    new Promise<{ code: number; text: string }>((resolve) => {
      execFile('bash', ['-c', line], { env, cwd: root }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), text: `${stdout}${stderr}` }),
      );
    });

  const runnable = pages.flatMap((page) =>
    linesOf(page).flatMap((line) => (notRun.some(([pattern]) => pattern.test(line)) ? [] : [[page, line] as const])),
  );
  /** A line that more pages have is run once, or, in the full size, for each of them. */
  const run = full ? runnable : [...new Map(runnable.map((row) => [row[1], row])).values()];

  it.each(run)('%s: %s', async (_page, line) => {
    const { code, text } = await shell(line);
    const isEnrolledAlready = /^cvm devices add/.test(line) && text.includes('is enrolled already');
    if (line.includes('--plan') && code === somethingToDo) return;
    if (isEnrolledAlready || (code === 1 && mayFail.test(line))) return;
    expect(code, text).toBe(0);
  });

  it('docs/aws.md: a helper that credential_process names gives the credentials, and its failure is said', async () => {
    const [, profile = ''] = /^```ini\n([\s\S]*?)^```/m.exec(readFileSync('docs/aws.md', 'utf8')) ?? [];
    const helper = join(root, 'aws_signing_helper');
    mkdirSync(join(dataDir, '.aws'), { recursive: true });
    writeFileSync(join(dataDir, '.aws', 'config'), profile.replace('/usr/local/bin/aws_signing_helper', helper));
    const { httpUrl } = JSON.parse(readFileSync(join(dataDir, 'aws-local', 'running.json'), 'utf8'));
    const list = `AWS_PROFILE=gateway AWS_ENDPOINT_URL=${httpUrl} cvm devices list`;
    const credentials = {
      Version: 1,
      AccessKeyId: 'ASIAHELPER',
      SecretAccessKey: 's',
      SessionToken: 't',
      Expiration: '2099-01-01T00:00:00Z',
    };
    writeFileSync(helper, `#!/bin/sh\necho "$@" > ${root}/asked\necho '${JSON.stringify(credentials)}'\n`, {
      mode: 0o755,
    });
    expect(await shell(list)).toMatchObject({ code: 0, text: expect.stringContaining('SN-1') });
    expect(readFileSync(join(root, 'asked'), 'utf8')).toMatch(/^credential-process --certificate .* --role-arn ARN$/m);
    writeFileSync(helper, '#!/bin/sh\necho "certificate expired" >&2\nexit 1\n', { mode: 0o755 });
    expect(await shell(list)).toMatchObject({
      code: 1,
      text: expect.stringMatching(/→ there are no AWS credentials: .*credential_process.*\n {5}why: /),
    });
  });
});
