import { createLog, type Log, standardErrorLog } from '../runtime/log.ts';
import { logToFile } from '../runtime/log-destination.ts';
import { prettyLog } from '../runtime/log-pretty.ts';
import type { Settings } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';

/** `reopen`: what SIGHUP does; absent where the log is no file, so that SIGHUP ends the service. */
export type ServiceLog = { readonly log: Log; readonly reopen?: () => void };

/** The log of a service: in CVM_LOG_FILE, or on standard error. @throws SettingsError where the file cannot be written */
export function openServiceLog(
  { logFile, logFormat, logLevel }: Pick<Settings, 'logFile' | 'logFormat' | 'logLevel'>,
  noColor?: string,
): ServiceLog {
  if (logFile === undefined) return { log: createLog(logLevel, standardErrorLog(logFormat, noColor)) };
  try {
    const file = logToFile(logFile);
    const log = createLog(logLevel, logFormat === 'pretty' ? prettyLog(file, { colours: false }) : file);
    return {
      log,
      reopen() {
        file.reopen();
        log.info({ file: logFile }, 'the log was opened anew');
      },
    };
  } catch (error) {
    throw new SettingsError([`CVM_LOG_FILE: ${logFile} cannot be written (${(error as NodeJS.ErrnoException).code})`]);
  }
}
