import { connect, createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { median, rowsOf } from '../bench/compare.ts';
import { openRelay } from '../bench/counting-relay.ts';
import { cpuMsOf } from '../bench/processes.ts';
import { until } from '../support/network.ts';

const round = (broker: number, worker: number) => ({
  enrol: { broker: 10, worker: 200, redis: 0 },
  vend: { broker, worker, redis: 100 },
});

describe('the benchmark', () => {
  it('reads user and system time of a process whose name holds spaces and parentheses', () => {
    const stat = '42 (node (v20) x) S 1 42 42 0 -1 4194304 900 0 0 0 123 45 6 7 20 0 11 0 100 1000 200';
    expect(cpuMsOf(stat)).toBe(1680);
  });

  it('compares the two runs of one round with each other, and takes the median of the rounds', () => {
    const rows = rowsOf('csr', 100, [
      { here: round(1000, 2000), there: round(1000, 1000) },
      { here: round(1100, 2400), there: round(1000, 2000) },
      { here: round(4500, 9000), there: round(5000, 3000) },
    ]);
    const row = rows.find(({ phase, part }) => phase === 'vend' && part === 'broker');
    expect(row).toEqual({
      flow: 'csr',
      phase: 'vend',
      part: 'broker',
      here: 11,
      there: 10,
      ratio: { median: 1, min: 0.9, max: 1.1 },
    });
  });

  it('gives no ratio where less was spent than the kernel counts precisely', () => {
    const [enrolBroker, enrolWorker] = rowsOf('ec', 10, [{ here: round(900, 900), there: round(900, 900) }]);
    expect(enrolBroker).toEqual({ flow: 'ec', phase: 'enrol', part: 'broker', here: 1, there: 1 });
    expect(enrolWorker?.ratio?.median).toBe(1);
  });

  it('measures one checkout by itself', () => {
    const rows = rowsOf('ec', 10, [{ here: round(500, 1500) }]);
    expect(rows.find(({ phase, part }) => phase === 'vend' && part === 'all')).toEqual({
      flow: 'ec',
      phase: 'vend',
      part: 'all',
      here: 210,
    });
  });

  it('takes the mean of the two middle values when their number is even', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([3])).toBe(3);
  });
});

describe('the relay of the row wire', () => {
  const record = (type: number, length: number) =>
    Buffer.concat([Buffer.from([type, 3, 3, 0, length]), Buffer.alloc(length)]);

  it('counts the bytes and the TLS records of both ways, in whatever pieces they come, and passes the end on', async () => {
    const heard: Buffer[] = [];
    const server = createServer((socket: Socket) => {
      socket.on('data', (data) => heard.push(data)).on('end', () => socket.end(record(22, 10)));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const relay = await openRelay((server.address() as { port: number }).port);
    try {
      const device = connect(relay.port, '127.0.0.1');
      const sent = Buffer.concat([record(22, 30), record(23, 100), record(21, 2)]);
      const closed = new Promise((resolve) => device.once('close', resolve));
      device.setNoDelay(true).resume().write(sent.subarray(0, 33));
      await until(async () => relay.counted().fromDevice === 33, 60_000, 'the first piece');
      expect(relay.counted().records).toBe(0);
      device.end(sent.subarray(33));
      await closed;
      expect(Buffer.concat(heard)).toEqual(sent);
      expect(relay.counted()).toEqual({ fromDevice: 147, toDevice: 15, records: 4 });
    } finally {
      await relay.close();
      server.close();
    }
  });
});
