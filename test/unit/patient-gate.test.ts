import { expect, it } from 'vitest';
import { withThrottlingAwaited } from '../../aws/patient-gate.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';

const failing = (times: number, error: Error) => {
  let left = times;
  return {
    call: async <T>(_operation: unknown, send: () => Promise<T>) => {
      if (left-- > 0) throw error;
      return send();
    },
  };
};

it('a throttled call is made again, after a wait that doubles', async () => {
  const waits: number[] = [];
  let said = 0;
  const onWait = () => void said++;
  const gate = withThrottlingAwaited(failing(8, new UpstreamThrottled('dynamodb:Scan')), onWait, async (ms) =>
    waits.push(ms),
  );
  expect(await gate.call('dynamodb:Scan', async () => 'answer')).toBe('answer');
  expect(waits).toEqual([200, 400, 800, 1600, 3200, 6400, 12_800, 20_000]);
  expect(said).toBe(8);
});

it('a call that is throttled for minutes fails in the end, and any other failure at once', async () => {
  const waits: number[] = [];
  const wait = async (ms: number) => waits.push(ms);
  const throttled = withThrottlingAwaited(failing(1000, new UpstreamThrottled('dynamodb:Scan')), () => {}, wait);
  await expect(throttled.call('dynamodb:Scan', async () => {})).rejects.toThrow('throttled');
  expect(waits.reduce((sum, ms) => sum + ms)).toBeGreaterThan(120_000);
  const away = withThrottlingAwaited(
    failing(1, new Error('away')),
    () => {},
    () => Promise.reject(new Error('waited')),
  );
  await expect(away.call('dynamodb:Scan', async () => {})).rejects.toThrow('away');
});
