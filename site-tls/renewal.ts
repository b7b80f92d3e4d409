import type { Log } from '../runtime/log.ts';
import { isPlausible } from '../runtime/plausible-time.ts';
import { chainsOf, type TlsChain, type TlsMaterial } from './material.ts';

/** How often the certificate is checked, in milliseconds. A file that the operator replaces is in use a minute later. */
const usualEveryMs = 60_000;

/** How long before the end of a certificate that was not renewed the operator is warned, once a day. Milliseconds. */
const warnMs = 14 * 86_400_000;

/**
 * Calls `load` again and again, which renews the server certificate when its end is near, and hands a changed certificate
 * to `use`. When `load` fails, the error is logged and the certificate in use stays.
 */
export function keepTlsFresh(options: {
  current: TlsMaterial;
  load(): Promise<TlsMaterial>;
  use(material: TlsMaterial): void;
  log: Log;
  now?: () => number;
  everyMs?: number;
}) {
  const { load, use, log, now = Date.now, everyMs = usualEveryMs } = options;
  let { current } = options;
  /** the day of the last warning, by key type */
  const warnedOn = new Map<string, string>();

  async function check(): Promise<void> {
    const next = await load();
    const before = new Map(chainsOf(current).map((chain) => [chain.keyType, chain]));
    const changed = chainsOf(next).filter((chain) => isChanged(chain, before.get(chain.keyType)));
    if (changed.length > 0) use(next);
    current = next;
    for (const chain of changed) tell(chain, before.get(chain.keyType));
    for (const chain of chainsOf(next)) warnOfValidity(chain, now());
  }

  function tell(next: TlsChain, before: TlsChain | undefined): void {
    const { keyType, fingerprint, spkiPin, notAfter, caFile: ca, caFingerprint } = next;
    if (fingerprint !== before?.fingerprint)
      log.info(
        { keyType, fingerprint, spkiPin, notAfter: notAfter.toISOString() },
        'the server certificate was renewed; connections stay',
      );
    if (caFingerprint !== before?.caFingerprint)
      log.info({ ca, caFingerprint }, 'the certificate of the site CA is another one; give it to new devices');
  }

  /** Once a day. A certificate that the site CA signs is in force already, unless the clock of this machine is wrong. */
  function warnOfValidity({ keyType, notBefore, notAfter }: TlsChain, time: number): void {
    const today = new Date(time).toISOString().slice(0, 10);
    const [early, ending] = [isPlausible(time) && notBefore.getTime() > time, notAfter.getTime() - time < warnMs];
    if (warnedOn.get(keyType) === today || !(early || ending)) return;
    warnedOn.set(keyType, today);
    if (early)
      log.error(
        { notBefore: notBefore.toISOString() },
        'the server certificate is not valid yet, and devices refuse it: set the clock of this machine, or replace the certificate',
      );
    else log.error({ notAfter: notAfter.toISOString() }, 'the server certificate ends soon: renew it');
  }

  const timer = setInterval(() => {
    check().catch((err: unknown) =>
      log.error({ err }, 'the server certificate cannot be loaded; the one in use stays'),
    );
  }, everyMs);
  return {
    name: 'tls',
    async close() {
      clearInterval(timer);
    },
  };
}

function isChanged(next: TlsChain, before: TlsChain | undefined): boolean {
  return next.fingerprint !== before?.fingerprint || next.caFingerprint !== before?.caFingerprint;
}
