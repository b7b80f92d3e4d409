import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApp } from '../../app/app.ts';
import type { Case } from '../../certify/case.ts';
import { cases } from '../../certify/cases/cases.ts';
import { certify } from '../../certify/certify.ts';
import type { Sheet } from '../../certify/sheet.ts';
import { certifySettings, startCertifyGateway, writeTemplate } from '../../cli/certify/gateway.ts';
import { makeToken } from '../../protocol/token.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { isolated } from './program.ts';

/** `names`: of the cases; all of them without. `environment`: of the program, beyond the usual. */
type How = {
  readonly names: readonly string[] | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** the device shows a claim certificate */
  readonly withClaim: boolean;
};

/** A gateway for certifications, as `cvm certify` starts it. */
export async function startCertification() {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-certify-'));
  const settings = certifySettings(loadSettings({ ...isolated(folder), CVM_HOSTNAMES: 'localhost' }));
  const app = createApp(settings, createLog('silent'));
  writeTemplate(settings, 'pump');
  const gateway = await startCertifyGateway(app, 'pump');
  return {
    /** Plays cases with a program as the device. */
    sheetOf(
      serial: string,
      command: string,
      { names, environment = {}, timeoutMs = 100_000, withClaim = false }: Partial<How> = {},
    ): Promise<Sheet> {
      const chosen: readonly Case[] = cases.filter(({ name }) => names?.includes(name) ?? true);
      return certify({
        gateway,
        device: { serial, token: makeToken() },
        ...{ host: 'localhost', listen: '127.0.0.1', port: 0, command },
        environment: { PATH: process.env.PATH, HOME: folder, ...environment },
        cases: chosen,
        folder: join(folder, 'devices', serial),
        jobs: 8,
        ...{ timeoutMs, withClaim },
        firstConnectionMs: 10_000,
        signal: new AbortController().signal,
      });
    },
    folder,
    async close() {
      await app.lifecycle.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type Certification = Awaited<ReturnType<typeof startCertification>>;
