import { oneLine } from './table.ts';

/** What a person is told of an error: what to do comes first. */
export type Told = { readonly cause: string; readonly cure?: string | undefined };

/**
 * The lines of an error, on standard error. The first line is what to do, and the second is what happened. An error without a cure has the second alone. With `--json`, it
 * is one JSON object on one line: `{"error","cure"?,"status"}`. @param of what the error is, in front of it
 */
export function failureText({ cause, cure }: Told, status: number, asJson: boolean, of: object = {}): string {
  if (asJson)
    return JSON.stringify({
      ...of,
      error: printable(cause),
      cure: cure === undefined ? cure : printable(cure),
      status,
    });
  return cure === undefined ? `cvm: ${printable(cause)}` : `cvm: → ${printable(cure)}\n     why: ${printable(cause)}`;
}

/** A cause may have a name in it that a stranger chose. The lines of a list stay lines. */
const printable = (text: string): string => text.split('\n').map(oneLine).join('\n');
