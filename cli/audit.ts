import { Command } from 'commander';
import { verifyAudit } from '../runtime/audit-verify.ts';
import type { Settings } from '../runtime/settings.ts';

export type AuditContext = { settings(): Settings; write(line: string): void };

export function auditCommand(context: AuditContext): Command {
  const audit = new Command('audit').description(
    'the record of every enrolment, vend, refusal, reissue, block and sweep on this machine',
  );
  audit
    .command('verify')
    .description('check that no record was changed, moved, removed or put in')
    .option('--dir <folder>', 'where the records are (default: CVM_AUDIT_DIR)')
    .option(
      '--expect <hash>',
      'a head that was noted earlier, elsewhere: shows that nothing up to it was cut off or written anew',
    )
    .option('--json', 'as JSON')
    .action(async ({ dir, expect, json }: { dir?: string; expect?: string; json?: boolean }) => {
      const { records, head, faults } = await verifyAudit(dir ?? context.settings().auditDir, expect);
      if (json) context.write(JSON.stringify({ records, head, faults }));
      else {
        for (const fault of faults) console.error(`cvm: ${fault}`);
        context.write(
          `${records} records, ${faults.length === 0 ? 'all as they were written' : `faults: ${faults.length}`}`,
        );
        if (head !== undefined) context.write(`head ${head}`);
      }
      if (faults.length > 0) process.exitCode = 1;
    });
  return audit;
}
