import { describe, expect, it } from 'vitest';
import { compare, comparisonTable, readComparable, unlikeness } from '../../gateway-sim/compare.ts';
import { reasonOf } from '../../gateway-sim/device.ts';
import type { Outcome } from '../../gateway-sim/outcome.ts';
import { renderPage } from '../../gateway-sim/page.ts';
import { ticks } from '../../gateway-sim/plot.ts';
import { fullReport, type Report, summary } from '../../gateway-sim/report.ts';

const seen = { expected: true, connectedAtFirst: true, connackMs: 5 };

function accepted(latencyMs: number, told?: { etaSeconds: number; waitedMs: number; position: number }): Outcome {
  return { kind: 'accepted', latencyMs, attempts: 1, seen: { ...seen, ...(told === undefined ? {} : { told }) } };
}

const moment = (at: number, accepted: number) => ({ at, accepted, refused: 0, waiting: 4 - accepted, open: 4 });

function sample(extra: readonly Outcome[] = [], devices?: number, lastMs = 9000, lateMs = [4, 12, 20]): Report {
  const outcomes = [
    accepted(1000, { etaSeconds: 2, waitedMs: 1000, position: 3 }),
    accepted(4000, { etaSeconds: 4, waitedMs: 4000, position: 9 }),
    accepted(9000, { etaSeconds: 8, waitedMs: 10_000, position: 12 }),
    ...extra,
  ];
  const moments = [0, 1, 2].map((at) => ({ ...moment(at, at), gatewayCpuMs: at * 30, gatewayRssBytes: 1e8 }));
  return fullReport(
    {
      ...{ outcomes, wallMs: 10_000, moments, drain: { firstMs: 1000, lastMs }, lateMs, failedAttempts: {} },
      cost: { cpuMs: 9, connections: 6, openAtPeak: 200, rssBytesAtPeak: 8_000_000 },
    },
    {
      ...{ scenario: 'power-cut', seed: 7, quotaPerSecond: 0.5, devices },
      tls: { cpuMs: 1, rssBytes: 30_000, connections: 100 },
    },
  );
}

describe('the full report of a simulation', () => {
  it('tells how honest the first promise of a time was', () => {
    expect(sample().pending).toEqual({
      told: 3,
      medianError: 0.2,
      etas: [
        [2, 1],
        [4, 4],
        [8, 10],
      ],
    });
  });

  it('tells how late devices began where that is much, since no other time has it', () => {
    expect(summary(sample())).not.toContain('later than planned');
    const held = sample([], undefined, 9000, [4000, 0, 2000]);
    expect(held.lateMs).toEqual({ p50: 2000, p95: 4000, p99: 4000, max: 4000 });
    expect(summary(held)).toMatch(/began later than planned +p50 2000 ms/);
  });

  it("tells the simulator's own cost from that of TLS, and shares its memory among all devices, connected or not", () => {
    // of 8,000,000 bytes, 200 connections of TLS take 6,000,000
    expect(sample().simulator).toMatchObject({
      perDevice: { cpuMs: 3, rssBytes: 40_000 },
      beyondTls: { cpuMs: 1, rssBytes: Math.round(2_000_000 / 3) },
    });
  });

  it('measures the drain between the first and the last certificate, and the gateway by certificate', () => {
    expect(sample()).toMatchObject({ drainPerSecond: 0.25, gateway: { cpuMs: 60, cpuMsPerDevice: 20 } });
    expect(summary(sample())).toContain('50.0 % of the quota of 0.5/s');
  });

  it('makes no rate of answers that came together', () => {
    expect(sample([], undefined, 1000.2)).not.toHaveProperty('drainPerSecond');
  });

  it('says how many devices an interruption left without an end, in text and on the page', () => {
    const interrupted = sample([], 100);
    expect(interrupted).toMatchObject({ devices: 3, unended: 97 });
    expect(summary(interrupted)).toMatch(/interrupted before its end +97/);
    expect(renderPage(interrupted)).toContain('3 of 100 devices got a certificate, in 10 s; the run was interrupted');
    expect(sample([], 3)).not.toHaveProperty('unended');
  });

  it('names the reason of OpenSSL without its addresses', () => {
    const said =
      '80FC68E8E77F0000:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../deps/openssl/ssl/record/ssl3_record.c:350:\n';
    expect(reasonOf(new Error(said))).toBe('TLS: wrong version number');
    expect(reasonOf(new Error('connect ECONNREFUSED 127.0.0.1:1'))).toBe('connect ECONNREFUSED 127.0.0.1:1');
  });

  it('counts every latency in one bin', () => {
    const { latencyHistogram = [] } = sample();
    expect(latencyHistogram.reduce((sum, { count }) => sum + count, 0)).toBe(3);
  });

  it('counts what did not end as the scenario wants', () => {
    const refused: Outcome = {
      kind: 'rejected',
      errorCode: 'Forbidden',
      attempts: 1,
      seen: { ...seen, expected: false },
    };
    expect(sample([refused])).toMatchObject({ devices: 4, asExpected: 3 });
  });
});

describe('the page of a simulation', () => {
  it('names nothing outside of itself, and has no script', () => {
    const page = renderPage(sample());
    expect(page).not.toMatch(/https?:|\/\/|<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=|\bon\w+=/i);
    expect(page).toContain("default-src 'none'");
  });

  it('escapes what came from a gateway', () => {
    const hostile: Outcome = { kind: 'rejected', errorCode: '<script>alert("1")</script>', attempts: 1 };
    const page = renderPage({ ...sample([hostile]), scenario: '"><b>&' });
    expect(page).not.toContain('<script');
    expect(page).toContain('&#60;script&#62;alert(&#34;1&#34;)');
    expect(page).toContain('&#34;&#62;&#60;b&#62;&#38;');
  });

  it('has every plot, and no number that is none', () => {
    const page = renderPage(sample([{ kind: 'rejected', errorCode: 'Throttled', attempts: 1 }]));
    expect(page.match(/<svg viewBox="0 0 720/g)).toHaveLength(5);
    expect(page).toContain('rejected, Throttled');
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('does not take the rounding of CPU time for a busy processor', () => {
    const last = { ...moment(2.001, 3), gatewayCpuMs: 70, gatewayRssBytes: 1e8 };
    const report = sample();
    const coresOf = (page: string) =>
      /aria-label="cores in use">.*?<\/svg>/.exec(page)?.[0].match(/class="line.*/)?.[0];
    const [before, after] = [report, { ...report, moments: [...(report.moments ?? []), last] }].map(renderPage);
    const height = (page = '') =>
      Math.min(...[...(coresOf(page) ?? '').matchAll(/[ML][\d.]+ ([\d.]+)/g)].map(([, y]) => Number(y)));
    expect(height(after)).toBe(height(before));
  });

  it('says so where nothing was measured', () => {
    const empty = fullReport(
      {
        ...{ outcomes: [], wallMs: 0, moments: [], drain: undefined, lateMs: [], failedAttempts: {} },
        cost: { cpuMs: 0, connections: 0, openAtPeak: 0, rssBytesAtPeak: 0 },
      },
      { scenario: 'none', seed: 1 },
    );
    const page = renderPage(empty);
    expect(page).toContain('No device got a certificate');
    expect(page).toContain('Not watched');
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('is readable in light and in dark', () => {
    expect(renderPage(sample())).toContain('prefers-color-scheme:dark');
  });

  it('tells its lines apart without colour, and in the legend as in the plot', () => {
    const page = renderPage(sample());
    const dashes = ['first', 'second', 'quota'].map(
      (style) => new RegExp(`\\.line\\.${style}\\{[^}]*dasharray:([^};]+)`).exec(page)?.[1],
    );
    expect(new Set(dashes).size).toBe(3);
    for (const style of ['first', 'second', 'quota'])
      expect(page).toContain(`aria-hidden="true"><path class="line ${style}"`);
    // browsers print no backgrounds
    expect(page).not.toMatch(/\.legend[^{]*\{background/);
  });

  it('says which run it was: its devices, when, against what gateway, and by which version', () => {
    const run = {
      kinds: '2 csr, 1 ec psk',
      target: 'localhost:8883',
      startedAt: '2026-11-28T08:13:44.123Z',
      version: '0.1.0',
    };
    expect(renderPage({ ...sample(), ...run })).toContain(
      'Scenario <b>power-cut</b>, seed 7, devices: 2 csr, 1 ec psk. All devices are simulated from 2026-11-28 08:13 UTC against localhost:8883, by cvm 0.1.0.',
    );
    expect(renderPage({ ...sample(), scenario: 'none' })).toContain('Without a scenario, seed 7. All');
  });

  it('labels its axes with round numbers', () => {
    expect(ticks({ label: '', to: 60 })).toEqual([0, 10, 20, 30, 40, 50, 60]);
    expect(ticks({ label: '', from: 0.5, to: 30, log: true })).toEqual([0.5, 1, 2, 5, 10, 20]);
  });
});

describe('the comparison of two reports', () => {
  const read = (report: Report) => readComparable(JSON.parse(JSON.stringify(report)));

  it('says where the runs are not alike, or one was interrupted', () => {
    const usual = read(sample());
    expect(unlikeness(usual, read(sample()))).toBeUndefined();
    const lossy = read({ ...sample(), scenario: 'lossy' });
    expect(unlikeness(usual, lossy)).toBe('power-cut, 3 devices / lossy, 3 devices');
    const interrupted = read(sample([], 100));
    expect(unlikeness(interrupted, interrupted)).toContain('power-cut, 100 devices, interrupted when 3 had ended');
  });

  it('says that the devices of the runs are not the same, though the scenario is', () => {
    const [ec, rsa] = ['1 ec', '1 rsa'].map((kinds) => read({ ...sample(), kinds }));
    expect(ec && rsa && unlikeness(ec, rsa)).toBe('power-cut, 3 devices (1 ec) / power-cut, 3 devices (1 rsa)');
    expect(ec && unlikeness(ec, read(sample()))).toBeUndefined();
  });

  it('finds it worse that devices are accepted which must be refused', () => {
    const refused: Outcome = { kind: 'rejected', errorCode: 'InvalidToken', attempts: 1, seen };
    const wrongly: Outcome = { ...accepted(1000), seen: { ...seen, expected: false } };
    const worse = compare(read(sample([refused])), read(sample([wrongly])), 0.1).filter((row) => row.worse);
    expect(worse.map(({ name }) => name)).toContain('ended as it should, share');
  });

  it('finds nothing worse where nothing changed', () => {
    const rows = compare(read(sample()), read(sample()), 0);
    expect(rows.filter(({ worse }) => worse)).toEqual([]);
    expect(rows.map(({ ratio }) => ratio)).toEqual(rows.map(() => 1));
  });

  it('names what is worse by more than the tolerance, whether more or less of it is better', () => {
    const slower = {
      ...sample(),
      perSecond: sample().perSecond * 0.8,
      latencyMs: { p50: 9000, p95: 9000, p99: 9000, max: 9000 },
    };
    const worse = compare(read(sample()), read(slower), 0.1).filter((row) => row.worse);
    expect(worse.map(({ name }) => name)).toEqual(['certificates a second', 'request to answer, p50 ms']);
    expect(comparisonTable(worse)).toMatch(/certificates a second +0\.300 +0\.240 +0\.80 {2}worse/);
  });

  it('compares only what both have measured', () => {
    const { gateway, ...unwatched } = sample();
    const names = compare(read(sample()), read(unwatched), 0.1).map(({ name }) => name);
    expect(names).not.toContain('gateway CPU, ms a device');
    expect(names).toContain('accepted, share of devices');
  });

  it('takes no other JSON for a report', () => {
    expect(() => readComparable({ devices: 'many' })).toThrow();
  });
});
