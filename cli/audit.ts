import { Command, InvalidArgumentError } from 'commander';
import { verifyAudit } from '../runtime/audit-verify.ts';
import { counted } from '../runtime/counted.ts';
import type { Settings } from '../runtime/settings.ts';

export type AuditContext = { settings(): Settings; write(line: string): void };

export function auditCommand(context: AuditContext): Command {
  const audit = new Command('audit');
  audit
    .command('verify')
    .description('check that no record was changed, moved, removed or inserted')
    .option('--dir <folder>', 'the folder of the trail (default: CVM_AUDIT_DIR)')
    .option(
      '--expect <hash>',
      'the head that an earlier run printed, kept elsewhere: no record up to it may be cut off or rewritten',
      recordHash,
    )
    .option('--json', 'as JSON')
    .action(async ({ dir, expect, json }: { dir?: string; expect?: string; json?: boolean }) => {
      const { records, head, faults } = await verifyAudit(dir ?? context.settings().auditDir, expect);
      if (json) context.write(JSON.stringify({ records, head, faults }));
      else {
        for (const fault of faults) console.error(`cvm: ${fault}`);
        context.write(
          `${counted(records, 'record')}, ${faults.length === 0 ? 'all as they were written' : `faults: ${faults.length}`}`,
        );
        if (head !== undefined) context.write(`head ${head}`);
      }
      if (faults.length > 0) process.exitCode = 1;
    });
  return audit;
}

function recordHash(text: string): string {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError('A hash has 64 of the characters 0-9 a-f.');
  return text;
}
