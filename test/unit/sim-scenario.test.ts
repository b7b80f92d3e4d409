import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bundledScenarios, bundledSites } from '../../gateway-sim/bundled.ts';
import { randomOf } from '../../gateway-sim/random.ts';
import { behavioursOf, kindsText, loadScenario, loadSite } from '../../gateway-sim/scenario.ts';

describe('scenarios of the simulator', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-scenario-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string, content: unknown) => {
    const path = join(folder, name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };

  it.each(Object.keys(bundledScenarios))('come with the program, and are right: %s', async (name) => {
    const scenario = await loadScenario(name);
    expect(scenario).toMatchObject({ name, description: expect.stringMatching(/\w/) });
    expect(scenario.site.devices).toBeGreaterThan(0);
  });

  it.each(Object.keys(bundledSites))('come with sites, which are right: %s', async (name) => {
    expect((await loadSite(name)).mix.length).toBeGreaterThan(0);
  });

  it('are read from a file, with a site beside it', async () => {
    file('own-site.json', { description: 'ours', devices: 7, mix: [{ part: 1, flow: 'csr' }] });
    const path = file('own.json', { description: 'ours', site: './own-site.json' });
    expect(await loadScenario(path)).toMatchObject({
      arrival: { curve: 'at-once' },
      site: { devices: 7, mix: [{ flow: 'csr', encoding: 'json', acknowledges: true }] },
    });
  });

  it('are read from a file with a byte order mark, as editors of Windows write it', async () => {
    const path = file('own.json', `\uFEFF${JSON.stringify({ description: 'ours', site: 'hut' })}`);
    expect(await loadScenario(path)).toMatchObject({ site: { devices: bundledSites.hut.devices } });
  });

  it('have kinds of devices that a few words name, without what is usual', async () => {
    const site = [
      { part: 2, flow: 'csr', encoding: 'cbor', prove: 'psk' },
      { part: 1, acknowledges: false, sleepy: { awakeSeconds: 3, asleepSeconds: 5 } },
    ];
    const { site: read } = await loadScenario(file('own.json', { description: 'ours', site }));
    expect(kindsText(read.mix)).toBe(
      '2 csr cbor psk, 1 ec acknowledges=false sleepy={"awakeSeconds":3,"asleepSeconds":5}',
    );
  });

  it('take another site when one is named', async () => {
    expect((await loadScenario('power-cut', 'hut')).site.devices).toBe(bundledSites.hut.devices);
  });

  it.each([
    [
      'a flow that is none',
      { description: '', site: [{ part: 1, flow: 'dsa' }] },
      /site\.0\.flow: .*"rsa"\|"ec"\|"csr"/,
    ],
    ['a word that is not known', { description: '', site: 'plant', arival: {} }, /"arival"/],
    ['a curve that is none', { description: '', site: 'plant', arrival: { curve: 'steep' } }, /arrival\.curve/],
    ['a time below zero', { description: '', site: 'plant', timeoutSeconds: -1 }, /timeoutSeconds: .*>0/],
    ['a site that is none', { description: '', site: 'nowhere' }, /no site is named "nowhere": take plant/],
    ['what is not JSON', '{', /is not JSON/],
  ])('are refused with the place of the mistake: %s', async (_what, content, message) => {
    await expect(loadScenario(file('wrong.json', content))).rejects.toThrow(message);
  });

  it('names every mistake of a file at once', async () => {
    const wrong = file('wrong.json', { description: '', site: 'plant', addresses: 0, patienceSeconds: 0 });
    await expect(loadScenario(wrong)).rejects.toThrow(/addresses: .*patienceSeconds: /);
  });

  it('says which scenarios there are where a name is not known, and why a file cannot be read', async () => {
    await expect(loadScenario('power-cat')).rejects.toThrow(
      /no scenario is named "power-cat": take first-boot, power-cut/,
    );
    await expect(loadScenario(join(folder, 'none.json'))).rejects.toThrow(/none\.json cannot be read \(ENOENT\)/);
  });

  it('gives each kind of device its part, in an order that the seed decides', async () => {
    const { mix } = (await loadScenario('wrong-tokens')).site;
    const tokens = (seed: number) => behavioursOf(mix, 50, randomOf(seed)).map(({ token }) => token);
    expect(tokens(1).filter((token) => token === 'wrong')).toHaveLength(5);
    expect(tokens(1).filter((token) => token === 'replayed')).toHaveLength(5);
    expect(tokens(1)).toEqual(tokens(1));
    expect(tokens(1)).not.toEqual(tokens(2));
  });
});
