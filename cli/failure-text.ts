import { oneLine } from './table.ts';

/** What a person is told of an error: what to do comes first. */
export type Told = { readonly cause: string; readonly cure?: string | undefined };

/**
 * The lines of an error, on standard error. The first one is what to do; where nobody knows that, it is what happened. With `--json`, it
 * is one JSON object on one line: `{"error","cure"?,"status"}`.
 */
export function failureText({ cause, cure }: Told, status: number, asJson: boolean): string {
  if (asJson)
    return JSON.stringify({ error: printable(cause), cure: cure === undefined ? cure : printable(cure), status });
  return cure === undefined ? `cvm: ${printable(cause)}` : `cvm: → ${printable(cure)}\n     why: ${printable(cause)}`;
}

/** A name that somebody else chose may stand in a cause; lines of a list stay lines. */
const printable = (text: string): string => text.split('\n').map(oneLine).join('\n');
