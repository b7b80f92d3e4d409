import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import type { ProvisioningRequest } from '../../queue/provisioning-request.ts';
import { noSightings } from '../../telemetry/sightings.ts';
import { createDecisionRecords } from '../../worker/decision-records.ts';
import { createRecorder } from '../support/records.ts';

describe('what the worker writes down of its decisions', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 2, 1) }));
  afterEach(() => void vi.useRealTimers());

  const certificateId = 'c'.repeat(64);
  const requestOf = (serial: string, remoteAddress?: string): ProvisioningRequest => ({
    ...{
      requestId: `of-${serial}`,
      serial,
      tokenHash: 'sha256:00',
      replyKey: 'key',
      key: 'ec' as const,
      receivedAt: Date.now(),
    },
    ...(remoteAddress === undefined ? {} : { remoteAddress }),
  });
  const refusal = { outcome: 'rejected', problem: problems.alreadyProvisioned } as const;
  function start() {
    const { audit, log, records, lines } = createRecorder();
    return {
      records,
      lines,
      decisions: createDecisionRecords({ audit, sightings: noSightings, log, now: Date.now, table: 'devices' }),
    };
  }

  it('says where a request came from, in the audit trail and in the log', () => {
    const { records, decisions, lines } = start();
    decisions.decided(requestOf('SN-1', '192.0.2.1'), refusal);
    decisions.decided(requestOf('SN-1', '192.0.2.2'), { outcome: 'accepted', certificateId, again: false });
    // as a broker of an older version stores it
    decisions.decided(requestOf('SN-1'), refusal);
    decisions.close();
    const about = { serial: 'SN-1', requestId: 'of-SN-1' };
    const errorCode = 'AlreadyProvisioned';
    expect(records).toEqual([
      { event: 'refused', ...about, remoteAddress: '192.0.2.1', errorCode },
      { event: 'vended', ...about, remoteAddress: '192.0.2.2', certificateId },
      { event: 'refused', ...about, errorCode },
    ]);
    const { message: reason } = problems.alreadyProvisioned;
    expect(lines()).toMatchObject([
      { msg: 'refused', remoteAddress: '192.0.2.1', errorCode, reason },
      { remoteAddress: '192.0.2.2' },
      { reason },
    ]);
  });

  it('has few lines of gateways that are not approved, however many a stranger makes, and the rest by number', () => {
    const { records, decisions, lines } = start();
    for (let index = 0; index < 20_000; index++)
      decisions.ofUnapprovedGateway(requestOf(`SN-${index}`), `gateway-${index}`);
    decisions.close();
    const refused = lines().filter(({ level, msg }) => Number(level) >= 30 && msg === 'refused');
    expect(refused).toHaveLength(5000);
    expect(refused[0]).toMatchObject({ serial: 'SN-0', gateway: 'gateway-0', errorCode: 'UpstreamUnavailable' });
    expect(lines().at(-1)).toMatchObject({ requests: 15_000 });
    expect(records).toEqual([]);
  });

  it('has few lines of a device that asks and acknowledges all day, and everything by number', () => {
    const { records, decisions, lines } = start();
    const perSecond = 4;
    for (let second = 0; second < 7200; second++) {
      for (let index = 0; index < perSecond; index++) {
        decisions.decided(requestOf('SN-1'), refusal);
        decisions.decided(requestOf('SN-1'), { outcome: 'accepted', certificateId, again: true });
        decisions.acknowledged({ serial: 'SN-1', tokenHash: 'sha256:00', certificateId }, index % 2 === 0);
      }
      vi.advanceTimersByTime(1000);
    }
    decisions.decided(requestOf('SN-2'), refusal);
    decisions.close();
    const ones = records.filter(({ event }) => !event.endsWith('-flood'));
    expect(ones.length).toBeLessThanOrEqual(301);
    expect(lines().length).toBeLessThanOrEqual(301);
    expect(ones.at(-1)).toMatchObject({ serial: 'SN-2' });
    expect(JSON.stringify(records.filter((each) => each.event === 'refused-flood'))).toContain('AlreadyProvisioned');
    const sum = (event: string, count: (record: never) => number | undefined) =>
      records.filter((each) => each.event === event).reduce((total, each) => total + (count(each as never) ?? 0), 0);
    const answers = sum('repeated-flood', (each: { answers?: number }) => each.answers);
    expect(answers + sum('repeated', () => 1)).toBe(7200 * perSecond);
  });

  it('has every certificate that was vended, and every device of a fleet that is refused', () => {
    const { records, decisions } = start();
    for (let device = 0; device < 12_000; device++) {
      decisions.decided(requestOf(`SN-${device}`), refusal);
      decisions.decided(requestOf('SN-1'), { outcome: 'accepted', certificateId, again: false });
    }
    decisions.close();
    expect(records).toHaveLength(24_000);
  });
});
