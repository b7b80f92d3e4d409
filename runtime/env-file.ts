import { readFileSync } from 'node:fs';
import { errorText, systemCure } from './errors.ts';
import { nearestName } from './nearest-name.ts';
import { unknownSetting } from './settings.ts';
import { SettingsError } from './settings-error.ts';
import { composeNames, settingNames } from './settings-schema.ts';

type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads the settings of a `.env` file as compose reads it, but for what compose would take silently: a line that is no setting, a `$` that
 * names nothing, a value over several lines. No message quotes a value: it may be a secret.
 * @param env the environment, which wins over the file; a variable that is empty, in either, counts as not set
 * @returns the variables that the environment does not have; none without a file
 * @param remark gets what is not taken although it is meant for us
 * @throws SettingsError with every problem at once
 */
export function readEnvFile(path: string, env: Variables, remark: (text: string) => void): Record<string, string> {
  const bytes = bytesOf(path);
  if (bytes === undefined) return {};
  if (bytes.includes(0)) throw new SettingsError([`${path} is no text in UTF-8: save it as UTF-8`]);
  const { variables, problems } = parseEnvFile(bytes.toString('utf8'), env);
  if (problems.length > 0) throw new SettingsError(problems.map((problem) => `${path}, ${problem}`));
  if (variables[ofNode] !== undefined && env[ofNode] === undefined)
    remark(`${ofNode} has no effect in ${path}: Node.js reads it earlier, so set it in the environment`);
  const isSet = (value: string | undefined) => value !== undefined && value.trim() !== '';
  const ours = Object.entries(variables).filter(([name, value]) => isOurs(name) && isSet(value) && !isSet(env[name]));
  return Object.fromEntries(ours);
}

const ofNode = 'NODE_EXTRA_CA_CERTS';

function bytesOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SettingsError([`${path} cannot be read: ${errorText(error)}. ${systemCure(error) ?? ''}`.trimEnd()]);
  }
}

/** The file may have variables of others as well. */
function isOurs(name: string): boolean {
  return settingNames.includes(name) || /^AWS_\w+$|^(?:HTTPS?|NO|ALL)_PROXY$/i.test(name);
}

/** @returns the variables in the file, and what is wrong with it, by line */
export function parseEnvFile(text: string, env: Variables) {
  const variables: Record<string, string> = {};
  const problems: string[] = [];
  for (const [index, line] of text
    .replace(/^\ufeff/, '')
    .split(/\r\n|\n|\r/)
    .entries()) {
    if (/^\s*(?:#|$)/.test(line)) continue;
    const parsed = parseLine(line, { ...variables, ...env });
    if ('problem' in parsed) problems.push(`line ${index + 1}: ${parsed.problem}`);
    else variables[parsed.name] = parsed.value;
  }
  return { variables, problems };
}

type Parsed<T> = T | { readonly problem: string };

function parseLine(line: string, known: Variables): Parsed<{ name: string; value: string }> {
  const [, name, rest] = /^\s*(?:export\s+)?([A-Za-z_][\w.]*)\s*[=:](.*)$/.exec(line) ?? [];
  if (name === undefined || rest === undefined)
    return { problem: 'this is no setting; write NAME=value, or begin a comment with #' };
  const unknown = unknownName(name);
  if (unknown !== undefined) return { problem: unknown };
  const parsed = parseValue(rest.trim(), known);
  return 'problem' in parsed ? { problem: `${name}: ${parsed.problem}` } : { name, value: parsed.value };
}

/** A name that is meant to be one of ours, and is none. */
function unknownName(name: string): string | undefined {
  if (isOurs(name) || composeNames.includes(name)) return undefined;
  if (name.startsWith('CVM_')) return unknownSetting(name);
  const others = settingNames.filter((each) => !each.startsWith('CVM_'));
  return nearestName(name, others, 2) === undefined ? undefined : unknownSetting(name);
}

function parseValue(text: string, known: Variables): Parsed<{ value: string }> {
  const quote = /^["']/.exec(text)?.[0];
  // compose takes `NAME= # comment` for the value "# comment"
  if (text.startsWith('#'))
    return { problem: 'its value begins with #; put the value in quotes, or the comment on a line of its own' };
  if (quote === undefined) return expanded(text.replace(/\s#.*$/, '').trimEnd(), known);
  const [, inside, after] = (quote === '"' ? /^"((?:[^"\\]|\\.)*)"(.*)$/ : /^'([^']*)'(.*)$/).exec(text) ?? [];
  if (inside === undefined) return { problem: `the quote ${quote} is not closed on this line` };
  if (!/^\s*(?:#.*)?$/.test(after ?? '')) return { problem: 'something stands after the closing quote' };
  return quote === "'" ? { value: inside } : expanded(inside, known, unescaped);
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
const unescaped = (text: string) =>
  text.replace(/\\(.)/g, (_all, character: string) => escapes[character] ?? character);

/** Puts in the variables that a value names: `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME:-default}`; `$$` and `\$` are a `$`. */
function expanded(text: string, known: Variables, plain = (part: string) => part): Parsed<{ value: string }> {
  const missing: string[] = [];
  const pattern = /\\\$|\$\$|\$\{(\w+)(?:(:?)-([^}]*))?\}|\$(\w+)|\$/g;
  let [value, end] = ['', 0];
  for (const match of text.matchAll(pattern)) {
    const [all, braced, colon, fallback, bare] = match;
    value += plain(text.slice(end, match.index));
    end = match.index + all.length;
    const found = known[braced ?? bare ?? ''];
    if (all === '\\$' || all === '$$') value += '$';
    else if (found !== undefined && !(found === '' && colon === ':')) value += found;
    else if (fallback !== undefined) value += fallback;
    else missing.push(all);
  }
  if (missing.length === 0) return { value: value + plain(text.slice(end)) };
  return { problem: 'it has a $ that names no variable; put the value in single quotes, in which a $ is a $' };
}
