import { describe, expect, it } from 'vitest';
import { cureOfReason, hints } from '../../cli/sim/hints.ts';
import { usualBehaviour } from '../../gateway-sim/behaviour.ts';
import { fullReport, summary } from '../../gateway-sim/report.ts';
import { simulate } from '../../gateway-sim/simulate.ts';
import { amazonRootCa } from '../../issuer/root-ca.ts';

const place = { host: 'gw.example', port: 8883, caFile: 'data/tls/site-ca.crt' };

describe('what the simulator says of a run in which devices were not served', () => {
  it.each([
    ['connect ECONNREFUSED 127.0.0.1:8883', /nothing listens at gw\.example:8883: start the gateway/],
    ['unable to verify the first certificate', /not signed by the CA in data\/tls\/site-ca\.crt: .*--ca/],
    [
      "Hostname/IP does not match certificate's altnames: Host: gw.example. is not in the cert's altnames: DNS:vm",
      /CVM_HOSTNAMES/,
    ],
    ['TLS: wrong version number', /does not speak TLS: correct --port/],
    [
      'Client network socket disconnected before secure TLS connection was established',
      /log of the gateway.*CVM_PROXY_FROM/,
    ],
    [
      'the gateway answered the pre-shared key with a certificate: it does not know the key',
      /does not know these devices/,
    ],
    ['no answer in time', /is a gateway at gw\.example:8883, is its worker running/],
    ['connect EMFILE 127.0.0.1:8883', /ulimit -n/],
  ])('names the cure of "%s"', (reason, cure) => {
    expect(cureOfReason(reason, place)).toMatch(cure);
  });

  it('names each cure once, that of most devices first, and none for words that it does not know', () => {
    const some = hints(
      { 'no answer in time': 2, 'connect ECONNREFUSED 127.0.0.1:1': 7, 'connect ECONNREFUSED ::1:1': 9, odd: 99 },
      place,
    );
    expect(some).toEqual([expect.stringMatching(/^nothing listens/), expect.stringMatching(/^no answer came/)]);
  });

  it('counts the attempts that failed by reason, and tells the last one while the run goes on: a wrong port is seen at once', async () => {
    const seen: (string | undefined)[] = [];
    const simulated = await simulate({
      // the discard port of TCP: nothing listens there
      gateway: { host: '127.0.0.1', port: 9, caPem: amazonRootCa() },
      devices: [{ serial: 'A', token: 't', behaviour: usualBehaviour, startMs: 0 }],
      ...{ concurrency: 1, timeoutMs: 1500, maxPauseMs: 200, seed: 1 },
      onProgress: ({ lastFailure }) => void seen.push(lastFailure),
    });
    const result = fullReport(simulated, { scenario: 'none', seed: 1 });
    expect(seen.at(-1)).toMatch(/ECONNREFUSED/);
    expect(result.failedAttempts).toEqual({ 'connect ECONNREFUSED 127.0.0.1:9': expect.any(Number) });
    expect(summary(result)).toMatch(/attempt failed, connect ECONNREFUSED 127\.0\.0\.1:9 +\d/);
  });
});
