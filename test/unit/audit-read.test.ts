import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAudit } from '../../runtime/audit.ts';
import { readAudit } from '../../runtime/audit-read.ts';
import { createLog } from '../../runtime/log.ts';
import type { AuditEvents, ProductRecord } from '../../telemetry/audit-events.ts';

const log = createLog('silent');
const march = Date.UTC(2026, 2, 10);
const certificateId = 'c'.repeat(64);

describe('reading the audit trail', () => {
  let folder: string;
  let time = march;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-audit-read-'));
    time = march;
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const open = (part: string) => openAudit<AuditEvents>({ folder, part, log, now: () => time++ });

  async function read(filter?: { serial?: string }): Promise<ProductRecord[]> {
    const records: ProductRecord[] = [];
    for await (const record of readAudit<AuditEvents>(folder, filter)) records.push(record);
    return records;
  }

  it('gives the records of one device, of all parts and over all months, oldest first', async () => {
    const [cvm, broker, worker] = [open('cvm'), open('broker'), open('worker')];
    for (const serial of ['SN-1', 'SN-2', 'SN-12']) cvm.record('enrolled', { serial });
    broker.record('refused', { serial: 'SN-1', remoteAddress: '192.0.2.1', errorCode: 'InvalidToken' });
    time = Date.UTC(2026, 3, 1);
    worker.record('vended', { serial: 'SN-1', requestId: 'r', certificateId });
    worker.record('vended', { serial: 'SN-2', requestId: 's', certificateId });
    time = Date.UTC(2027, 0, 1);
    worker.record('delivered', { serial: 'SN-1', certificateId });
    for (const audit of [cvm, broker, worker]) await audit.close();

    const records = await read({ serial: 'SN-1' });
    expect(records.map(({ part, event }) => `${part} ${event}`)).toEqual([
      'cvm enrolled',
      'broker refused',
      'worker vended',
      'worker delivered',
    ]);
    expect(records.map(({ time }) => time)).toEqual(records.map(({ time }) => time).sort());
    expect(records[1]).toMatchObject({ errorCode: 'InvalidToken', remoteAddress: '192.0.2.1' });
    expect(await read()).toHaveLength(7);
    expect(await read({ serial: 'SN-3' })).toEqual([]);
  });

  it('gives records of a serial only where the record is about that serial, not where it is named in another field', async () => {
    writeFileSync(
      join(folder, '2026-03.jsonl'),
      `${JSON.stringify({ time: 'x', event: 'y', part: 'z', nested: { serial: 'SN-1' } })}\n`,
    );
    expect(await read()).toHaveLength(1);
    expect(await read({ serial: 'SN-1' })).toEqual([]);
  });

  it('skips lines that are torn or are no record, and goes on behind them', async () => {
    const audit = open('worker');
    audit.record('vended', { serial: 'SN-1', requestId: 'r', certificateId });
    const file = join(folder, '2026-03.jsonl');
    const whole = readFileSync(file, 'utf8');
    appendFileSync(file, whole.slice(0, 60));
    audit.record('delivered', { serial: 'SN-1', certificateId });
    appendFileSync(file, '"serial":"SN-1"\nnull\n["serial":"SN-1"]\n{"serial":"SN-1"}\n\n');
    audit.record('repeated', { serial: 'SN-1', requestId: 'r', certificateId });
    appendFileSync(file, whole.slice(0, -20));
    await audit.close();
    expect((await read({ serial: 'SN-1' })).map(({ event }) => event)).toEqual(['vended', 'delivered', 'repeated']);
    expect(await read()).toHaveLength(3);
  });

  it('gives the first records before it has read the last ones: a trail may be larger than memory', async () => {
    const line = (event: string) => `${JSON.stringify({ time: 'x', event, filler: 'x'.repeat(1000) })}\n`;
    const file = join(folder, '2026-03.jsonl');
    writeFileSync(file, line('early').repeat(8000));
    let count = 0;
    let last: string | undefined;
    for await (const { event } of readAudit(folder)) {
      if (count++ === 0) appendFileSync(file, `${'x'.repeat(100_000)}\n${line('late')}`);
      last = event;
    }
    expect([count, last]).toEqual([8001, 'late']);
  });

  it('can be left before its end, and reads nothing where there is no folder', async () => {
    const audit = open('cvm');
    for (let index = 0; index < 3; index++) audit.record('enrolled', { serial: `SN-${index}` });
    for await (const record of readAudit<AuditEvents>(folder)) {
      expect(record).toMatchObject({ serial: 'SN-0' });
      break;
    }
    rmSync(folder, { recursive: true });
    expect(await read()).toEqual([]);
  });
});
