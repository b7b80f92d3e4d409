/** What is wrong, and what a person does about it. */
export type Trouble = { readonly cause: string; readonly cure: string };

const lookUp = 'docs/operations.md has a runbook for each alert';

/**
 * Takes the text of a health check apart. It has its cure behind the first `: ` or `; ` that is not in parentheses; or it begins with the cure, and
 * has the cause in parentheses at its end.
 */
export function troubleOf(text: string): Trouble {
  const at = separatorOf(text);
  if (at !== undefined) return { cause: text.slice(0, at), cure: text.slice(at + 2) };
  const cureFirst = /^(.+?) \((.+)\)$/s.exec(text);
  const [, cure, cause] = cureFirst ?? [];
  return cure === undefined || cause === undefined ? { cause: text, cure: lookUp } : { cause, cure };
}

/** @returns where the first separator outside of parentheses is */
function separatorOf(text: string): number | undefined {
  for (let [at, depth] = [0, 0]; at < text.length; at++) {
    if (text[at] === '(') depth++;
    else if (text[at] === ')') depth = Math.max(0, depth - 1);
    else if (depth === 0 && (text.startsWith(': ', at) || text.startsWith('; ', at))) return at;
  }
  return undefined;
}
