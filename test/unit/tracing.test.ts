import { describe, expect, it } from 'vitest';
import { withCallSpans } from '../../aws/call-spans.ts';
import { traceOf } from '../../runtime/tracing.ts';

const parent = `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01`;

describe('what a job in Redis says of its trace', () => {
  it('is the parent span, and nothing beside it', () => {
    const metadata = JSON.stringify({ traceparent: parent, tracestate: 'x=1', baggage: 'y=2' });
    expect(traceOf(metadata)).toBe(JSON.stringify({ traceparent: parent }));
  });

  it.each([
    ['absent', undefined],
    ['no text', { traceparent: parent }],
    ['no JSON', '{'],
    ['null', 'null'],
    ['of another form', JSON.stringify({ traceparent: `${parent}\n` })],
    ['no parent', JSON.stringify({ traceparent: 5 })],
    ['too long', JSON.stringify({ traceparent: parent, x: 'x'.repeat(2000) })],
  ])('counts for nothing where it is %s', (_what, metadata) => {
    expect(traceOf(metadata)).toBeUndefined();
  });
});

describe('the gate to AWS', () => {
  const gate = { call: <T>(_operation: string, send: () => Promise<T>) => send() };

  it('is the same one where traces are off', () => {
    expect(withCallSpans(gate, undefined)).toBe(gate);
  });

  it('makes a span of each call, with its operation and nothing else', async () => {
    const spans: unknown[] = [];
    const traced = withCallSpans(gate, {
      span: (name, kind, attributes, work) => {
        spans.push([name, kind, attributes]);
        return work();
      },
    });
    expect(await traced.call('iot:CreateThing', async () => 'made')).toBe('made');
    expect(spans).toEqual([
      ['aws iot:CreateThing', 'call', { 'rpc.system': 'aws-api', 'rpc.service': 'iot', 'rpc.method': 'CreateThing' }],
    ]);
  });
});
