import { request } from 'node:https';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import type { Explanation } from '../../operator/explanation.ts';
import { type FailureId, failureText, type GoodStateId } from '../../operator/failures.ts';
import type { Gateway } from './gateway.ts';

type Asked = (serial: string) => Promise<Explanation>;

/**
 * Asks why a device has no certificate, `cvm explain` and then the page of the device at the console, each until its answer is this one: what was
 * seen is written a moment later.
 */
export function expectVerdicts(gateway: () => Gateway, now: () => number = Date.now) {
  let explainer: Asked | undefined;
  let atConsole: Promise<Asked> | undefined;
  return async (serial: string, id: FailureId | GoodStateId): Promise<Explanation> => {
    explainer ??= gateway().explainerAt(now).explain;
    const explanation = await untilVerdict('cvm explain', explainer, serial, id);
    const { title, cause, cure } = failureText(id, serial);
    expect(explanation.verdict.cause).toContain(cause);
    if (cure !== '') expect(explanation.verdict.cure).toMatch(/.{8,}/);
    atConsole ??= consoleOf(gateway(), now);
    const page = await untilVerdict('the console', await atConsole, serial, id);
    expect(page.verdict).toMatchObject({
      id,
      title,
      cause: expect.stringContaining(cause),
      cure: explanation.verdict.cure,
    });
    const asked = [explainer, await atConsole];
    // a worker that tries again may change the row between two questions
    await expect
      .poll(() => Promise.all(asked.map(async (explain) => (await explain(serial)).device)))
      .toSatisfy(([one, other]) => isDeepStrictEqual(one, other));
    return explanation;
  };
}

async function untilVerdict(who: string, explain: Asked, serial: string, id: string): Promise<Explanation> {
  let last: Explanation | undefined;
  await expect
    .poll(
      async () => {
        last = await explain(serial);
        return last.verdict.id;
      },
      { interval: 250, message: `the verdict of ${who} on ${serial}` },
    )
    .toBe(id);
  return last as Explanation;
}

async function consoleOf(gateway: Gateway, now: () => number): Promise<Asked> {
  const { port, token } = await gateway.startOneConsole(now);
  const at = { host: '127.0.0.1', port, ca: gateway.broker.caPem, servername: 'localhost', agent: false as const };
  return (serial) =>
    new Promise((resolve, reject) => {
      const path = `/api/v1/devices/${encodeURIComponent(serial)}`;
      const asked = request({ ...at, path, headers: { authorization: `Bearer ${token}` } }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (answer.statusCode === 200) resolve(JSON.parse(text) as Explanation);
          else reject(new Error(`the console answered ${answer.statusCode} ${text}`));
        });
      });
      asked.on('error', reject).end();
    });
}
