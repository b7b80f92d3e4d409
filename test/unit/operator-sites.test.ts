import { Readable } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { readDeviceRows } from '../../operator/csv.ts';
import { block, remove, unblock } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { enrol } from '../../operator/enrol.ts';
import { importDevices } from '../../operator/import.ts';
import { move } from '../../operator/move.ts';
import { reissue } from '../../operator/reissue.ts';
import { listDevices } from '../../operator/view.ts';
import { createMemoryOperator, type MemoryOperator } from '../support/operator.ts';
import { newGateway } from '../support/trust.ts';

describe('an operator of several sites', () => {
  let operator: MemoryOperator;
  /** each announcement: its site and how many serials */
  let announced: [site: string | undefined, serials: number][];
  let deps: OperatorDeps;
  const gateways = { north: newGateway().identity, south: newGateway().identity, none: newGateway().identity };
  beforeEach(() => {
    announced = [];
    operator = createMemoryOperator({
      announce: async (serials, site) => void announced.push([site, serials.length]),
      gateways: async () => [{ ...gateways.north, site: 'north' }, { ...gateways.south, site: 'south' }, gateways.none],
    });
    ({ deps } = operator);
  });
  const keysOf = (serial: string) => Object.keys(operator.row(serial)?.sealedKeys ?? {}).sort();
  const ids = (...of: readonly (keyof typeof gateways)[]) => of.map((name) => gateways[name].id).sort();

  it('enrols for a site: keys are sealed to its gateways, and those are told', async () => {
    const { without } = await enrol(
      [{ serial: 'A', site: 'north' }, { serial: 'B' }, { serial: 'C', site: 'west' }],
      deps,
    );
    expect(operator.row('A')).toMatchObject({ site: 'north' });
    expect(keysOf('A')).toEqual(ids('north'));
    expect(keysOf('B')).toEqual(ids('north', 'south', 'none'));
    expect(keysOf('C')).toEqual([]);
    expect([...without]).toEqual(['west']);
    expect(announced).toEqual([
      ['north', 1],
      [undefined, 1],
      ['west', 1],
    ]);
  });

  it.each(['a b', '*', 'x'.repeat(65), '#', ''])('refuses the site %j, and does not repeat it', async (site) => {
    const { outcomes } = await enrol([{ serial: 'A', site }], deps);
    expect(outcomes).toMatchObject([{ outcome: 'invalid', reason: expect.stringMatching(/a site has 1 to 64/) }]);
    expect(operator.row('A')).toBeUndefined();
  });

  it('imports a file whose rows name their sites, and announces each site in batches', async () => {
    const rows = Array.from(
      { length: 1200 },
      (_, index) => `D-${index},${index % 3 === 0 ? 'north' : index % 3 === 1 ? 'south' : ''}`,
    );
    const kept = new Map<string, string>();
    const tokens = {
      find: async (serial: string) => kept.get(serial),
      add: async (serial: string, token: string) => void kept.set(serial, token),
    };
    await importDevices(readDeviceRows(Readable.from([`serial,site\n${rows.join('\n')}\n`])), deps, {
      defaults: { site: 'west' },
      tokens,
      onRow: () => {},
    });
    expect(operator.row('D-0')).toMatchObject({ site: 'north' });
    expect(operator.row('D-2')).toMatchObject({ site: 'west' });
    expect(announced.sort()).toEqual([
      ['north', 400],
      ['south', 400],
      ['west', 400],
    ]);
    announced.length = 0;
    await importDevices(
      readDeviceRows(Readable.from([`serial\n${rows.map((row) => `E${row.split(',')[0]}`).join('\n')}\n`])),
      deps,
      {
        defaults: { site: 'north' },
        tokens,
        onRow: () => {},
      },
    );
    expect(announced).toEqual([
      ['north', 500],
      ['north', 500],
      ['north', 200],
    ]);
  });

  it('tells the site of a device of every later decision about it', async () => {
    await enrol([{ serial: 'A', site: 'north' }], deps);
    await block('A', deps);
    await unblock('A', deps);
    await reissue('A', { onToken: () => {} }, deps);
    await remove('A', 'keep-thing', deps);
    expect(announced).toEqual(Array(5).fill(['north', 1]));
  });

  it('a reissued device keeps its site, and its new keys are sealed to the gateways of it', async () => {
    await enrol([{ serial: 'A', site: 'south' }], deps);
    const before = operator.row('A')?.sealedKeys;
    await reissue('A', { onToken: () => {} }, deps);
    expect(operator.row('A')).toMatchObject({ site: 'south' });
    expect(keysOf('A')).toEqual(ids('south'));
    expect(operator.row('A')?.sealedKeys).not.toEqual(before);
  });

  it('moves a device: both sites are told, it is on the audit trail, and repeating it changes nothing', async () => {
    await enrol([{ serial: 'A', site: 'north' }], deps);
    announced.length = 0;
    expect(await move('A', 'south', deps)).toEqual({ outcome: 'moved', from: 'north', needsKeys: true });
    expect(announced).toEqual([
      ['north', 1],
      ['south', 1],
    ]);
    expect(operator.events.at(-1)).toBe('moved A north south');
    const row = operator.row('A');
    expect(await move('A', 'south', deps)).toEqual({ outcome: 'is-there' });
    expect(operator.row('A')).toEqual(row);
    expect(await move('A', undefined, deps)).toEqual({ outcome: 'moved', from: 'south', needsKeys: false });
    expect(operator.row('A')).not.toHaveProperty('site');
    expect(await move('nobody', 'south', deps)).toEqual({ outcome: 'not-enrolled' });
  });

  it('moves a device that has acknowledged its certificate without a word about keys, and none that is being removed', async () => {
    await operator.register('A');
    const { tokenHash = '', certificateId = '' } = operator.row('A') ?? {};
    await operator.registry.acknowledge('A', tokenHash, certificateId, 1);
    expect(await move('A', 'south', deps)).toEqual({ outcome: 'moved', needsKeys: false });
    expect(operator.row('A')).toMatchObject({ state: 'registered', certificateId, site: 'south' });
    await operator.loseAnswer('B');
    await remove('B', 'with-thing', deps);
    expect(await move('B', 'south', deps)).toEqual({ outcome: 'being-removed' });
  });

  it('waits for a worker that is at the device, or ends its attempt', async () => {
    await operator.beProvisioned('A');
    expect(await move('A', 'south', deps)).toEqual({ outcome: 'being-provisioned' });
    expect(await move('A', 'south', deps, { ms: 0, force: true })).toMatchObject({ outcome: 'moved' });
    expect(operator.row('A')).toMatchObject({ state: 'enrolled', site: 'south' });
    expect(operator.row('A')).not.toHaveProperty('claimId');
  });

  it('a move that could not be announced stands, and says so', async () => {
    await enrol([{ serial: 'A' }], deps);
    const announce = async () => {
      throw new Error('no connection');
    };
    expect(await move('A', 'north', { ...deps, announce })).toMatchObject({
      outcome: 'moved',
      unannounced: 'no connection',
    });
  });

  it('lists the devices of one site', async () => {
    await enrol([{ serial: 'A', site: 'north' }, { serial: 'B', site: 'south' }, { serial: 'C' }], deps);
    const serials: string[] = [];
    for await (const { serial, site } of listDevices({ site: 'south' }, deps)) serials.push(`${serial} ${site}`);
    expect(serials).toEqual(['B south']);
  });
});
