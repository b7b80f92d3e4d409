import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { earlierCommit, hasEarlierRelease } from '../support/earlier-release.ts';
import { composeStack, eventually, findCompose } from './compose.ts';

const compose = findCompose();
const project = `cvmupgrade${process.pid}`;
const hasEarlier = hasEarlierRelease();
if (!hasEarlier) console.warn(`SKIPPED: an upgrade in compose; this clone is shallow and lacks ${earlierCommit}`);

// not finished: in its container the broker of the release before acknowledges no request of this test's device, and its log does not say why
describe.skipIf(compose === undefined || !hasEarlier || process.env.TEST_COMPOSE_UPGRADE !== '1')(
  'a compose stack of the release before, with its data',
  () => {
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
      const archive = execFileSync('git', ['archive', earlierCommit], { maxBuffer: 2 ** 28 });
      execFileSync('tar', ['-x', '-C', release], { input: archive });
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

    it('goes on with this release: the same CA, every device, one certificate each, and an audit trail that is whole', async () => {
      await ask('vended');
      await before.call('down');
      await now.call('up', '-d');
      expect(await eventually('site CA', () => now.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca'))).toBe(caPem);
      const renewed = await ask('vended');
      expect(await ask('vended')).toMatchObject({ certificateId: renewed.certificateId });
      await ask('enrolled');
      expect(await now.cvm('audit', 'verify')).toContain('all as they were written');
      expect(JSON.parse(await now.cvm('devices', 'show', 'vended', '--json'))).toMatchObject({
        certificateId: renewed.certificateId,
      });
    });

    it('goes back to the release before within the same format, and its devices with it', async () => {
      await now.call('down');
      await before.call('up', '-d');
      await ask('later');
      await before.call('down');
    });
  },
);
