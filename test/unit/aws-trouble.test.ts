import { describe, expect, it } from 'vitest';
import { ForeignAnswer } from '../../aws/foreign-answer.ts';
import { createAwsGate } from '../../aws/gate.ts';
import { createAwsTrouble, withTrouble } from '../../aws/trouble.ts';

function open() {
  let time = 0;
  const trouble = createAwsTrouble(() => time);
  const gate = withTrouble(createAwsGate({ table: 'cvm-devices', region: async () => 'eu-west-1' }), trouble);
  const fails = (operation: Parameters<typeof gate.call>[0], error: object) =>
    gate.call(operation, () => Promise.reject(Object.assign(new Error('as AWS says'), error))).catch(() => {});
  return {
    trouble,
    gate,
    fails,
    wait(ms: number) {
      time += ms;
    },
  };
}

describe('the trouble with AWS', () => {
  it.each([
    ['is away', { code: 'ECONNREFUSED' }, /does not answer .*network/],
    ['answers too late', { name: 'TimeoutError' }, /does not answer .*network/],
    ['has a fault', { name: 'InternalServerError', $metadata: { httpStatusCode: 500 } }, /does not answer/],
    ['lacks the table', { name: 'ResourceNotFoundException', $metadata: { httpStatusCode: 400 } }, /cvm aws setup/],
    [
      'permits nothing',
      { name: 'AccessDeniedException', $metadata: { httpStatusCode: 400 } },
      /allow dynamodb:GetItem/,
    ],
    ['gets no credentials', { name: 'CredentialsProviderError' }, /there are no AWS credentials/],
    ['gets expired credentials', { name: 'ExpiredTokenException', $metadata: { httpStatusCode: 400 } }, /have expired/],
  ])('is told, with the cure, when it %s, until it answers', async (_what, error, text) => {
    const { trouble, gate, fails } = open();
    expect([trouble.text(), trouble.quietMs()]).toEqual([undefined, Number.POSITIVE_INFINITY]);
    await fails('dynamodb:GetItem', error);
    expect(trouble.text()).toMatch(text);
    await gate.call('dynamodb:GetItem', async () => ({}));
    expect(trouble.text()).toBeUndefined();
  });

  it.each([200, 302, 403, 408, 503])(
    'is told when something else answers in place of AWS, with status %d',
    async (status) => {
      const { trouble, gate } = open();
      const foreign = new ForeignAnswer({ statusCode: status, headers: {} });
      await gate.call('dynamodb:GetItem', () => Promise.reject(foreign)).catch(() => {});
      expect(trouble.text()).toMatch(/between this machine and AWS/);
    },
  );

  it.each([
    ['a condition that failed', 'dynamodb:UpdateItem', { name: 'ConditionalCheckFailedException' }],
    ['a limit on calls', 'iot:AttachPolicy', { name: 'ThrottlingException' }],
    ['a mistake in the row of one device', 'iot:CreateThing', { name: 'InvalidRequestException' }],
    ['a policy that one row names, and is not there', 'iot:AttachPolicy', { name: 'ResourceNotFoundException' }],
  ] as const)('is not %s', async (_what, operation, error) => {
    const { trouble, fails } = open();
    await fails(operation, { ...error, $metadata: { httpStatusCode: 400 } });
    expect(trouble.text()).toBeUndefined();
  });

  it('is told of a call that gets no answer, before it ends', async () => {
    const { trouble, gate, wait } = open();
    let answer = (_result: object) => {};
    const call = gate.call('dynamodb:GetItem', () => new Promise((resolve) => (answer = resolve)));
    wait(5000);
    expect(trouble.text()).toBeUndefined();
    wait(6000);
    expect(trouble.text()).toContain('has not answered dynamodb:GetItem');
    answer({});
    await call;
    expect(trouble.text()).toBeUndefined();
  });

  it('of a single call is forgotten when no later one confirms it', async () => {
    const { trouble, fails, wait } = open();
    await fails('iot:DeleteThing', { name: 'AccessDeniedException', $metadata: { httpStatusCode: 403 } });
    expect(trouble.text()).toContain('iot:DeleteThing');
    wait(180_000);
    expect(trouble.text()).toBeUndefined();
  });
});
