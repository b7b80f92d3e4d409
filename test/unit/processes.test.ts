import { describe, expect, it } from 'vitest';
import type { App } from '../../app/app.ts';
import { asProcess, tokenAttemptShare } from '../../app/processes.ts';
import { defaultTokenAttemptLimits } from '../../queue/token-attempts.ts';

describe('one of several broker processes', () => {
  it('has its share of what is limited for all, so that more processes let no more of an attacker in', () => {
    const app = { settings: { maxConnections: 5000, maxConnectionsPerAddress: 1001 } } as App;
    const { maxConnections, maxConnectionsPerAddress } = asProcess(app, { number: 2, of: 4 }).settings;
    expect([maxConnections, maxConnectionsPerAddress]).toEqual([1250, 251]);
    expect(tokenAttemptShare({ number: 2, of: 4 }).perSecond).toBe(defaultTokenAttemptLimits.perSecond / 4);
  });
});
