import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRefusals } from '../../broker/refusals.ts';
import { problem } from '../../protocol/problems.ts';
import { createRecorder, type Recorded } from '../support/records.ts';
import { noBrokerSightings } from '../support/unguarded.ts';

type Counted = { readonly byCode?: Readonly<Record<string, number>> };

describe('what the broker writes down of those that it turns away', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 2, 1) }));
  afterEach(() => void vi.useRealTimers());

  const invalid = problem('InvalidRequest', 'no');
  const of = (serial: string | undefined, address = '192.0.2.1') => ({ serial, remoteAddress: address, address });
  function start() {
    const { audit, log, records, lines } = createRecorder();
    return { records, lines, refusals: createRefusals({ audit, sightings: noBrokerSightings, log }) };
  }
  const singly = (records: readonly Recorded[]) => records.filter(({ event }) => event === 'refused').length;
  const byNumber = (records: readonly Recorded[]) =>
    records.reduce((sum, each) => sum + ((each as Counted).byCode?.InvalidRequest ?? 0), 0);

  it('has every refusal of a flood in its audit records, and few records of a day', () => {
    const { records, refusals } = start();
    for (let second = 0; second < 86_400; second++) {
      for (let index = 0; index < 12; index++) refusals.message(of('SN-1'), invalid);
      if (second === 9) expect(singly(records)).toBe(100);
      vi.advanceTimersByTime(1000);
    }
    expect(singly(records)).toBe(2500);
    expect(records.length).toBeLessThanOrEqual(2500 + 1440);
    expect(JSON.stringify(records).length).toBeLessThan(1_000_000);
    // the next day has a budget of its own
    refusals.message(of('SN-1'), invalid);
    expect(records.at(-1)).toMatchObject({ event: 'refused' });
    refusals.close();
    expect(singly(records) + byNumber(records)).toBe(12 * 86_400 + 1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('shows the refusal of another address beside a flood, in the audit trail and in the log', () => {
    const { records, refusals, lines } = start();
    for (let index = 0; index < 10_000; index++) refusals.message(of('SN-1'), invalid);
    refusals.message(of('SN-2', '192.0.2.2'), invalid);
    refusals.close();
    expect(records.filter(({ serial }) => serial === 'SN-2')).toHaveLength(1);
    expect(lines().filter(({ serial }) => serial === 'SN-2')).toHaveLength(1);
    expect(lines()).toHaveLength(11);
  });

  it('has few lines of an address whose connections are closed, and their number', () => {
    const { refusals, lines } = start();
    for (let index = 0; index < 10_000; index++) refusals.connection(of(undefined), 'no MQTT');
    refusals.connection(of('SN-2', '192.0.2.2'), 'no MQTT');
    refusals.close();
    expect(lines()).toHaveLength(12);
    expect(lines().at(-2)).toMatchObject({ serial: 'SN-2' });
    expect(lines().at(-1)).toMatchObject({ msg: 'closed more connections', connections: 9990 });
  });

  it('has few lines of an address whose TLS handshakes fail, at info, and their number', () => {
    const { refusals, lines } = start();
    for (let index = 0; index < 10_000; index++)
      refusals.handshake(of(undefined), { fault: 'no-shared-cipher', reason: 'no shared cipher' });
    refusals.handshake(of('SN-2', '192.0.2.2'), { fault: 'psk-wrong', reason: 'a wrong key' });
    refusals.close();
    expect(lines()).toHaveLength(12);
    expect(lines().at(-2)).toMatchObject({
      level: 30,
      serial: 'SN-2',
      remoteAddress: '192.0.2.2',
      reason: 'a wrong key',
    });
    expect(lines().at(-1)).toMatchObject({ msg: 'more TLS handshakes failed', handshakes: 9990 });
  });

  it('has few lines of an address whose subscriptions are refused, at info, and their number', () => {
    const { refusals, lines } = start();
    for (let index = 0; index < 10_000; index++) refusals.subscription(of(undefined), 'a wildcard');
    refusals.subscription(of('SN-2', '192.0.2.2'), 'a wildcard');
    refusals.close();
    expect(lines()).toHaveLength(12);
    const about = { serial: 'SN-2', remoteAddress: '192.0.2.2', reason: 'a wildcard' };
    expect(lines().at(-2)).toMatchObject({ level: 30, msg: 'refused a subscription', ...about });
    expect(lines().at(-1)).toMatchObject({ msg: 'refused more subscriptions', subscriptions: 9990 });
  });

  it('tells once that a connection is closed, at info, with its address, serial and reason', () => {
    const { refusals, lines } = start();
    const connection = of('SN-1');
    for (const reason of ['the cause', 'what came of it']) refusals.connection(connection, reason);
    refusals.close();
    const about = { serial: 'SN-1', remoteAddress: '192.0.2.1', reason: 'the cause' };
    expect(lines()).toEqual([expect.objectContaining({ ...about, level: 30, msg: 'closing a connection' })]);
  });

  it('does not quote text that is not a serial', () => {
    const { records, refusals, lines } = start();
    for (const serial of ['SN-1', 'a\u2028b', 'x'.repeat(129), '', undefined]) {
      refusals.message(of(serial), invalid);
      refusals.connection(of(serial), 'no MQTT');
    }
    refusals.close();
    const named = ['SN-1', undefined, undefined, undefined, undefined];
    expect(records.map(({ serial }) => serial)).toEqual(named);
    expect(lines().map(({ serial }) => serial)).toEqual(named.flatMap((serial) => [serial, serial]));
  });
});
