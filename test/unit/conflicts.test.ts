import { TransactionCanceledException, TransactionConflictException } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';
import { upstreamError } from '../../aws/errors.ts';
import { untilNoConflict } from '../../registry/dynamodb/conflicts.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';

const metadata = { $metadata: {}, message: '' };
const cancelled = (...codes: string[]) =>
  new TransactionCanceledException({ ...metadata, CancellationReasons: codes.map((Code) => ({ Code })) });
const failing = (errors: Error[]) => {
  let calls = 0;
  const call = async () => {
    const error = errors[calls++];
    if (error !== undefined) throw error;
    return calls;
  };
  return { call, calls: () => calls };
};
const noWait = async () => {};

describe('a write that meets a transaction at its item', () => {
  it.each([
    ['a write', new TransactionConflictException(metadata)],
    ['a transaction', cancelled('None', 'TransactionConflict')],
  ])('is made again, since it did nothing: %s', async (_what, conflict) => {
    expect(await untilNoConflict(failing([conflict, conflict]).call, noWait)).toBe(3);
  });

  it('is given up after some tries, with the error', async () => {
    const { call, calls } = failing(Array(50).fill(cancelled('TransactionConflict')));
    await expect(untilNoConflict(call, noWait)).rejects.toThrow(TransactionCanceledException);
    expect(calls()).toBe(8);
  });

  it.each([[cancelled('ConditionalCheckFailed')], [new Error('away')]])('is not made again for %s', async (error) => {
    const { call, calls } = failing([error]);
    await expect(untilNoConflict(call, noWait)).rejects.toThrow(error);
    expect(calls()).toBe(1);
  });

  it('counts as throttled where the table is throttled', () => {
    const place = { region: 'us-east-1', table: 'devices' };
    const error = upstreamError('dynamodb:TransactWriteItems', cancelled('None', 'ThrottlingError'), place);
    expect(error).toBeInstanceOf(UpstreamThrottled);
  });
});
