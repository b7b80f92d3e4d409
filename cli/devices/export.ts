import { Command, Option } from 'commander';
import { type DeviceView, listDevices } from '../../operator/view.ts';
import { siteName } from '../site-name.ts';
import type { DevicesContext } from './context.ts';

/** The columns that `cvm devices import` knows have the names it knows them by. */
const columns = {
  serial: ({ serial }) => serial,
  site: ({ site }) => site,
  state: ({ state }) => state,
  certificate_id: ({ certificateId }) => certificateId,
  enrolled_at: ({ enrolledAt }) => enrolledAt,
  requested_at: ({ requestedAt }) => requestedAt,
  issued_at: ({ issuedAt }) => issuedAt,
  delivered_at: ({ deliveredAt }) => deliveredAt,
  token_expires_at: ({ tokenExpiresAt }) => tokenExpiresAt,
  policy: ({ policyName }) => policyName,
  thing_type: ({ thingTypeName }) => thingTypeName,
  thing_group: ({ thingGroupName }) => thingGroupName,
  claim_group: ({ claimGroup }) => claimGroup,
} satisfies Record<string, (device: DeviceView) => string | undefined>;

const states: readonly DeviceView['state'][] = ['enrolled', 'provisioning', 'registered', 'blocked'];

type Options = { state?: DeviceView['state']; site?: string };

export function exportCommand({ operator, write }: DevicesContext): Command {
  return new Command('export')
    .description(
      'print all devices as CSV, for a spreadsheet. It has no tokens: the table keeps only their hashes, and a lost token is replaced by cvm devices reissue',
    )
    .addOption(new Option('--state <state>', 'only devices in this state').choices(states))
    .option('--site <name>', 'only devices of this site', siteName)
    .action(async ({ state, site }: Options) => {
      write(Object.keys(columns).join(','));
      for await (const device of listDevices({ state, site }, await operator()))
        write(
          Object.values(columns)
            .map((fieldOf) => csvField(fieldOf(device)))
            .join(','),
        );
    });
}

/**
 * RFC 4180. A text that begins like a formula, also behind spaces or in wide characters, gets an apostrophe, since a spreadsheet would compute it
 * (OWASP, CSV injection). Spreadsheets of many countries split at semicolons and tabs as well, and would find a formula behind one.
 */
export function csvField(text = ''): string {
  const safe = /^\s*[=+@\t\r\n＝＋－＠-]/.test(text) ? `'${text}` : text;
  return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
