import type { Case } from '../case.ts';
import type { Observation, ShownCertificate } from '../observation.ts';
import { certificateCase, failed } from './certificate-case.ts';

const page = 'docs/protocol.md';

/** The first connection (or those that `isShown` says) is shown a certificate that the device must not take; all others the right one. */
function wrongCertificate(
  about: Pick<Case, 'name' | 'plays' | 'cure' | 'reference' | 'wants'>,
  shown: Exclude<ShownCertificate, 'right' | 'rsa'>,
  fault: (observation: Observation) => string | undefined,
  isShown = (_observation: Observation, connection: number): boolean => connection === 1,
): Case {
  const whole = { ...about, level: 'mandatory', lingerMs: 1500 } as const;
  return certificateCase({
    ...whole,
    disturb: ({ observation }) => ({
      show: (connection) => (isShown(observation, connection) ? shown : 'right'),
      judge() {
        const cause = fault(observation);
        return cause === undefined ? [] : [failed(whole, cause)];
      },
    }),
  });
}

const onFirst = ({ connection }: { readonly connection: number }) => connection === 1;

/** It may look at a certificate after the handshake; it must not send a word. */
function spoke(observation: Observation): string | undefined {
  if (!observation.all('connect').some(onFirst)) return undefined;
  return observation.all('token').some(onFirst)
    ? 'it went on with this server, and sent its token to it'
    : 'it went on with this server, and sent CONNECT';
}

/** A device without a clock may ask for the time there, and for nothing else. */
function toldSecrets(observation: Observation): string | undefined {
  const wrongly = new Set(observation.all('opened').flatMap((each) => (each.shown === 'right' ? [] : each.connection)));
  const onWrong = ({ connection }: { readonly connection: number }) => wrongly.has(connection);
  if (observation.all('token').some(onWrong)) return 'it sent its token to this server';
  return observation.requests.some(onWrong) ? 'it asked this server for its certificate' : undefined;
}

/** The certificate has expired on each connection for the time, and on the first one for something else. */
function isOnlyForTime(observation: Observation, connection: number): boolean {
  const forTime = new Set(observation.all('time-question').map((question) => question.connection));
  return observation.all('opened').every((opened) => opened.connection >= connection || forTime.has(opened.connection));
}

const rsaServer: Case = certificateCase({
  name: 'rsa-certificate',
  level: 'advice',
  plays: 'shows a certificate with an RSA key (2048 bits), which the site CA has signed, to the first connection',
  wants: 'takes it: a site may have such a server',
  cure: 'build the TLS stack with RSA signatures beside ECDSA (ECDHE-RSA suites, rsa_pss_rsae_sha256 in TLS 1.3), or tell the operator that the server of the site must have a P-256 key',
  reference: `${page}#tls`,
  skip: ({ token }) => (token === 'pre-shared key' ? 'by a pre-shared key it is shown no certificate' : undefined),
  disturb: () => ({
    show: (connection) => (connection === 1 ? 'rsa' : 'right'),
    judge({ observation }) {
      const [refused] = observation.all('tls-failed').filter(onFirst);
      if (refused === undefined) return [];
      return [failed(rsaServer, `it did not take this certificate (${refused.reason})`)];
    },
  }),
});

const wants = 'ends the handshake, sends nothing, and comes back later';

export const certificateCases: readonly Case[] = [
  wrongCertificate(
    {
      name: 'wrong-ca',
      plays: 'shows a certificate of another CA to the first connection',
      wants,
      cure: 'verify the certificate with the site CA and no other, and with a pre-shared key that no certificate was used; then try again later',
      reference: `${page}#tls`,
    },
    'wrong-ca',
    spoke,
  ),
  wrongCertificate(
    {
      name: 'other-name',
      plays: 'shows a certificate of the site CA for another host to the first connection',
      wants,
      cure: 'compare the name or address that the device connects to with the names in the certificate',
      reference: `${page}#tls`,
    },
    'other-name',
    spoke,
  ),
  wrongCertificate(
    {
      name: 'expired-certificate',
      plays:
        'shows an expired certificate of the site CA to the first connection (and to those before it that are for the time)',
      wants: 'ends the handshake, or asks for nothing but the time; comes back later',
      cure: 'check the dates of the certificate; a device without a clock asks for the time first, on a connection without its token',
      reference: `${page}#time`,
    },
    'expired',
    toldSecrets,
    isOnlyForTime,
  ),
  rsaServer,
];
