import { failureText, type Told } from './failure-text.ts';

/**
 * A failure of one device, gateway or row, after which a command goes on with the next one. `serial` is absent where the failure is of no device, and
 * `line` is that of a file.
 */
export type Complaint = Told & { readonly serial?: string | undefined; readonly line?: number | undefined };

/**
 * Says it on standard error; the exit status will be 1. For a person on one line, since there may be thousands. With `--json` as one JSON object on one line, with
 * the fields that an error of a whole command has, too: `{"serial"?,"line"?,"error","cure"?,"status":1}`.
 */
export function complain({ cause, cure, serial, line }: Complaint, asJson = false): void {
  process.exitCode = 1;
  if (asJson) console.error(failureText({ cause, cure }, 1, true, { serial, line }));
  else if (line === undefined) console.error(failureText({ cause: sentence(cause, cure) }, 1, false));
  else console.error(`line ${line}: ${sentence(cause, cure)}`);
}

/** A failure of the whole command whose cure is known. */
export class CommandFailed extends Error {
  readonly cure: string;

  constructor(cause: string, cure: string) {
    super(cause);
    this.cure = cure;
  }
}

/** A cure that is a sentence of its own begins with a capital letter. */
function sentence(cause: string, cure: string | undefined): string {
  if (cure === undefined) return cause;
  return `${cause}${/^\p{Lu}/u.test(cure) ? '.' : ';'} ${cure}`;
}
