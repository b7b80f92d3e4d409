import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { earlierCommit, hasEarlierRelease, unpackEarlierRelease } from '../support/earlier-release.ts';
import { composeStack, eventually, findCompose, image } from './compose.ts';

const compose = findCompose();
const project = `cvmupgrade${process.pid}`;
const hasEarlier = hasEarlierRelease();
if (!hasEarlier) console.warn(`SKIPPED: an upgrade in compose; this clone is shallow and lacks ${earlierCommit}`);

describe.skipIf(compose === undefined || !hasEarlier)('a compose stack of the release before, with its data', () => {
  const ports = {
    CVM_MQTT_PORT: '28941',
    CVM_CONSOLE_PORT: '28450',
    CVM_AWS_LOCAL_HTTP_PORT: '24616',
    CVM_AWS_LOCAL_MQTT_PORT: '28942',
  };
  const release = mkdtempSync(join(tmpdir(), 'cvm-release-'));
  const now = composeStack(compose ?? [], { project, profile: 'local-aws', env: ports });
  const before = composeStack(compose ?? [], {
    project,
    profile: 'local-aws',
    env: { ...ports, CVM_IMAGE: `cvm-gateway-${earlierCommit}`, COMPOSE_FILE: join(release, 'docker-compose.yml') },
  });
  const tokens = new Map<string, string>();
  let caPem: string;

  beforeAll(async () => {
    unpackEarlierRelease(release);
    await before.call('build');
    await before.call('up', '-d');
    caPem = await eventually('site CA', () => before.call('exec', '-T', 'broker', 'cat', '/data/tls/site-ca.crt'));
    const add = ['devices', 'add', '--json'];
    const said = await eventually('devices', () =>
      before.call('exec', '-T', 'worker', 'node', 'dist/cli/cvm.js', ...add, 'vended', 'enrolled', 'later'),
    );
    for (const line of said.trim().split('\n')) {
      const { serial, token } = JSON.parse(line) as { serial: string; token: string };
      tokens.set(serial, token);
    }
  });
  afterAll(async () => {
    await now.down();
    rmSync(release, { recursive: true, force: true });
  });

  const ask = (serial: string) =>
    eventually(`a certificate for ${serial}`, async () => {
      const token = tokens.get(serial) ?? '';
      const reply = await askOnce({ port: Number(ports.CVM_MQTT_PORT), caPem }, serial, { token, key: 'ec' });
      expect(reply).toMatchObject({ status: 'accepted', thingName: serial });
      return reply;
    });

  /** The user to whom the data of Redis belong, where that release's image has another one than this release's. */
  let formerUser: string | undefined;

  /** Gives the data of Redis to this release's user, by the command in the log, where the images have different ones. */
  const giveRedisItsData = async () => {
    const said = await eventually('a start of redis', async () => {
      const logs = await now.call('logs', '--no-color', 'redis');
      expect(logs).toMatch(/belong to user|Ready to accept connections/);
      return logs;
    });
    formerUser = /belong to user (\d+)/.exec(said)?.[1];
    const command = /Give them to it: docker (.*)/.exec(said)?.[1];
    if (command === undefined) return;
    const [container = ''] = await now.containers('redis');
    await now.docker(...command.replace('"$(docker compose ps -aq redis)"', container).split(' '));
  };

  it('goes on with this release: the same CA, every device, the same certificate and private key, and an audit trail that is whole', async () => {
    const first = await ask('vended');
    await before.call('down');
    await now.call('up', '-d');
    await giveRedisItsData();
    expect(await eventually('site CA', () => now.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca'))).toBe(caPem);
    expect(await ask('vended')).toEqual({ ...first, time: expect.any(Number) });
    await ask('enrolled');
    expect(await now.cvm('audit', 'verify')).toContain('all as they were written');
    expect(JSON.parse(await now.cvm('devices', 'show', 'vended', '--json'))).toMatchObject({
      certificateId: first.certificateId,
    });
  });

  it('serves a device that has no certificate yet, when it goes back to the release before', async () => {
    const [container = ''] = await now.containers('redis');
    await now.call('stop');
    const chown = ['--entrypoint', 'chown', image, '-R', formerUser ?? '999', '/data'];
    await now.docker('run', '--rm', '--user', '0', '--volumes-from', container, ...chown);
    await now.call('down');
    await before.call('up', '-d');
    await ask('later');
    await before.call('down');
  });
});
