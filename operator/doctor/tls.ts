import { type Check, fail, ok, skipped, type Verdict, warn } from './check.ts';
import type { CertificateFacts, DoctorSources } from './sources.ts';

const dayMs = 86_400_000;

/** Days before the end at which a person should act. The broker renews the certificate of the site CA a month before. */
const [ownDays, renewedDays, caDays] = [30, 14, 180];

const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);

export const tlsChecks: readonly Check[] = [
  {
    id: 'server-certificate',
    title: 'server certificate',
    finds:
      'the certificate or its key cannot be read or do not belong together; it has ended, ends soon, or begins in the future',
    parts: ['broker'],
    quick: true,
    atStart: false,
    look: (sources) => withCertificate(sources, (certificate) => [judgeValidity(certificate, sources.now())], unusable),
  },
  {
    id: 'server-names',
    title: 'names in the server certificate',
    finds: 'a name of CVM_HOSTNAMES is not in the certificate; in a container, CVM_HOSTNAMES is empty',
    parts: ['broker'],
    quick: true,
    atStart: true,
    fixes: true,
    look: (sources) =>
      withCertificate(sources, ({ missing, own, names }) => {
        if (missing.length > 0) return [namesMissing(missing, own, sources)];
        if (sources.settings.hostnames.length > 0 || own || !sources.settings.inContainer)
          return [ok(names.join(', '))];
        return [
          warn({
            seen: `CVM_HOSTNAMES is empty; the certificate has ${names.join(', ')}`,
            cause:
              'a container does not know the names and addresses by which devices reach it, and they refuse the broker',
            cure: 'write the names and addresses by which devices reach this machine into CVM_HOSTNAMES',
          }),
        ];
      }),
  },
  {
    id: 'site-ca',
    title: 'site CA',
    finds: 'the CA that devices trust ends within half a year',
    parts: ['broker'],
    quick: true,
    atStart: false,
    look: (sources) =>
      withCertificate(sources, ({ caNotAfter, own }) => {
        if (caNotAfter === undefined)
          return [own ? ok('none: the server certificate is your own') : skipped('there is none yet')];
        const days = Math.floor((caNotAfter - sources.now()) / dayMs);
        const seen = `valid until ${day(caNotAfter)}`;
        return days >= caDays
          ? [ok(seen)]
          : [
              (days < 0 ? fail : warn)({
                seen,
                cause: 'devices refuse a broker whose CA has ended',
                cure: 'replace it while the devices still trust it: "cvm tls rotate-ca", then give both CAs to the devices (docs/operations.md)',
              }),
            ];
      }),
  },
];

async function withCertificate(
  { certificate }: DoctorSources,
  judge: (certificate: CertificateFacts) => Verdict[],
  ofProblem: (problem: Problem) => Verdict = () => skipped('not known while the certificate cannot be used'),
): Promise<Verdict[]> {
  const read = await certificate();
  if ('problem' in read) return [ofProblem(read)];
  return read.value === undefined
    ? [skipped('there is none yet: the broker makes it at its first start')]
    : judge(read.value);
}

type Problem = { readonly problem: string; readonly cure?: string | undefined };

function unusable({ problem, cure }: Problem): Verdict {
  return fail({ seen: problem, cause: 'the broker does not start with it', cure: cure ?? 'restore it from a backup' });
}

function judgeValidity({ notBefore, notAfter, own }: CertificateFacts, now: number): Verdict {
  const days = Math.floor((notAfter - now) / dayMs);
  const seen = `valid from ${day(notBefore)} to ${day(notAfter)}`;
  const cure = own
    ? 'put a newer certificate into the files of CVM_TLS_CERT and CVM_TLS_KEY; a running broker uses it within a minute'
    : 'the broker renews it by itself, and could not: see its log, and run "cvm tls renew"';
  if (notBefore > now)
    return fail({
      seen,
      cause: 'it begins in the future: the clock of this machine is behind, or was ahead',
      cure: 'set the clock, best by NTP, and restart the broker',
    });
  if (days < 0) return fail({ seen, cause: 'devices refuse the broker', cure });
  return days < (own ? ownDays : renewedDays)
    ? warn({ seen: `${seen} (${days} days)`, cause: 'devices refuse the broker afterwards', cure })
    : ok(seen);
}

function namesMissing(missing: readonly string[], own: boolean, { mend }: DoctorSources): Verdict {
  const seen = `${missing.join(', ')} of CVM_HOSTNAMES ${missing.length === 1 ? 'is' : 'are'} not in it`;
  const cause = 'devices that use such a name refuse the broker';
  return own
    ? fail({ seen, cause, cure: 'get a certificate with these names, or correct CVM_HOSTNAMES' })
    : fail({ seen, cause, cure: 'restart the broker, or run "cvm tls renew"', mend: () => mend.serverCertificate() });
}
