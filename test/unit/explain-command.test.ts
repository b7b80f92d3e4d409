import { afterEach, describe, expect, it, vi } from 'vitest';
import { commands } from '../../cli/commands.ts';
import { explainCommand, explanationLines } from '../../cli/explain.ts';
import type { Explanation } from '../../operator/explanation.ts';

const explanation: Explanation = {
  device: { serial: 'SN-1', state: 'not-enrolled' },
  verdict: {
    id: 'unknown-serial',
    title: 'serial not enrolled',
    cause: 'there is no device of this serial in the table. Enrolled are: SN-I',
    cure: 'correct the serial in the firmware or here (cvm explain SN-I); if SN-1 is right: cvm devices add SN-1',
    state: 'problem',
  },
  timeline: [
    {
      ...{ at: '2026-10-01T11:58:04.000Z', part: 'broker', step: 'answered', outcome: 'refused', detail: 'rejected' },
      ...{ count: 12, since: '2026-10-01T09:12:40.000Z', from: '10.0.0.7', errorCode: 'InvalidToken', unproven: true },
    },
  ],
  missing: ['what brokers and workers saw: Redis is away'],
};

describe('cvm explain', () => {
  afterEach(() => {
    process.exitCode = undefined;
  });

  it.each([60, 80, 200])('says verdict, cause, cure and steps in lines of at most %i characters', (columns) => {
    const lines = explanationLines(explanation, { columns, colours: false });
    expect(lines[0]).toBe('SN-1 (not-enrolled): serial not enrolled');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    const all = lines.join(' ').replace(/\s+/g, ' ');
    expect(all).toContain('do correct the serial in the firmware or here (cvm explain SN-I)');
    expect(all).toContain('not looked at: what brokers and workers saw');
    expect(all).toContain('InvalidToken, rejected, from 10.0.0.7, 12 times since 2026-10-01 09:12:40, nothing proves');
  });

  it('has colours where the terminal takes them, and none elsewhere', () => {
    const escapes = '\u001b[';
    expect(explanationLines(explanation, { columns: 80, colours: true }).join('')).toContain(escapes);
    expect(explanationLines(explanation, undefined).join('')).not.toContain(escapes);
  });

  it('lets no control character through, whoever wrote it: a row of another tool, Redis, AWS, the audit trail', () => {
    const evil = '\u001b]0;x\u0007\u001b[2J\r\n\u009b31m\u202egnorw';
    const lines = explanationLines(
      {
        device: { serial: 'SN-1', state: 'enrolled', site: `north${evil}`, revision: 1 },
        verdict: { ...explanation.verdict, cause: `Redis said ${evil}`, cure: `do ${evil}` },
        timeline: explanation.timeline.map((entry) => ({ ...entry, detail: evil, requestId: evil, from: evil })),
        missing: [evil],
      },
      { columns: 80, colours: false },
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is about them
    expect(lines.filter((line) => /[\u0000-\u001f\u007f-\u009f\u202e]/.test(line))).toEqual([]);
  });

  it('is a command of cvm', () => {
    expect(commands.map(({ name }) => name)).toContain('explain');
  });

  it('takes nothing that is neither a serial nor the id of a request, before it calls anything', async () => {
    const explain = vi.fn();
    const command = explainCommand({ explain, write() {} });
    await expect(command.parseAsync(['a b'], { from: 'user' })).rejects.toThrow(
      /neither a serial nor the id of a request.* A device that uses this as its serial is refused: give it one/,
    );
    expect(explain).not.toHaveBeenCalled();
  });
});
