import { readFileSync, writeFileSync } from 'node:fs';
import { diagnostic, parsed, readGoldenPublish, writesGolden } from './golden.ts';
import type { GoldenGroup } from './golden-messages.ts';

/** Longer texts and bytes are shown by their beginning and their length; the files have them whole. */
const [longText, longBytes] = [64, 32];
/** The bytes of a payload are shown where they are so many at most. */
const shownBytes = 128;

const begin = (group: string) => `<!-- golden: ${group} -->\n`;
const end = '\n<!-- golden end -->';

/** A group as it stands on a page, between two comments: `shown` there, and `now` by the stored files. With GOLDEN=write it is written first. */
export function groupOnPage(page: string, group: GoldenGroup): { shown: string; now: string } {
  const now = rendered(group);
  if (writesGolden) {
    const text = readFileSync(page, 'utf8');
    const [before, after] = around(text, group.name);
    writeFileSync(page, before + now + after);
  }
  const text = readFileSync(page, 'utf8');
  const [before, after] = around(text, group.name);
  return { shown: text.slice(before.length, text.length - after.length), now };
}

function around(text: string, group: string): [before: string, after: string] {
  const from = text.indexOf(begin(group));
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`the page has no place for "${group}": two comments, golden and golden end`);
  return [text.slice(0, from + begin(group).length), text.slice(to)];
}

/** One after the other, each with its encodings. */
function rendered({ messages }: GoldenGroup): string {
  const names = [...new Set(messages.map(({ name }) => name.replace(/\.(json|cbor)$/, '')))];
  const blocks = names.map((name) => {
    const of = messages.filter((each) => each.name.replace(/\.(json|cbor)$/, '') === name);
    const [first] = of;
    const { topic } = readGoldenPublish(first?.name ?? '');
    // the topics of the two encodings may differ, in their last level
    const shownTopic = of.length === 2 ? topic.replace(/\/json(\/|$)/, '/{json,cbor}$1') : topic;
    return [`# ${name}: ${first?.what}`, `# ${shownTopic}`, ...of.flatMap(({ name }) => linesOf(name))].join('\n');
  });
  return `\`\`\`\n${blocks.join('\n\n')}\n\`\`\``;
}

function linesOf(name: string): string[] {
  const { payload, bytes } = readGoldenPublish(name);
  const form = name.endsWith('.cbor') ? 'CBOR' : 'JSON';
  const size = `${form}, ${bytes} bytes`;
  if (payload.length === 0) return [`${size}: no payload`];
  const value = parsed(payload);
  if (value === undefined) return [`${size}: ${diagnostic(payload, longBytes)}`];
  if (form === 'JSON') return [`${size}: ${JSON.stringify(shortened(value))}`];
  const whole = `${size}: ${diagnostic(shortened(value), longBytes)}`;
  return payload.length > shownBytes ? [whole] : [whole, `  ${payload.toString('hex')}`];
}

/** The same value with long texts cut. */
function shortened(value: unknown): unknown {
  if (typeof value === 'string')
    return value.length <= longText * 2 ? value : `${value.slice(0, longText)}… (${value.length} characters)`;
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value;
  if (value instanceof Map) return new Map([...value].map(([key, each]) => [key, shortened(each)]));
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shortened(each)]));
}
