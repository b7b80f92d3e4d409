import { type SettingEntry, settingGroups } from './settings-reference.ts';
import { defaultSettings } from './settings-schema.ts';

/** What holds where it is not set, in words or as it would be written; undefined: nothing. */
const usualValue = ({ name, unset }: SettingEntry): string | undefined => defaultSettings[name] || unset;

/** The text of `.env.example`: every setting with its meaning and the value that compose uses. */
export function envExample(): string {
  const groups = settingGroups.flatMap(({ title, about, settings }) => [
    '',
    `# --- ${title} `.padEnd(119, '-'),
    ...(about === undefined ? [] : comment(about)),
    ...settings.flatMap(exampleOf),
  ]);
  return `${[...comment(head), ...groups].join('\n')}\n`;
}

const head =
  'Settings of the gateway, with the values that compose uses. Copy to .env and change what you need. Compose reads .env, and so does `cvm` in the folder where it runs; variables of the environment come first. A variable that is set but empty counts as not set. Put a value with # $ " or spaces at its ends into single quotes, in which every character stands for itself. Written from runtime/settings-reference.ts.';

function exampleOf(entry: SettingEntry): string[] {
  const { name, meaning, more, unset, readBy, example, isSet } = entry;
  const forCompose = readBy.length === 1 && readBy[0] === 'compose' ? 'For compose. ' : '';
  const shown = example ?? defaultSettings[name] ?? '';
  const otherwise = unset === undefined || unset === shown ? [] : [`(default: ${unset})`];
  return [
    ...comment(`${forCompose}${[meaning, ...(more === undefined ? [] : [more]), ...otherwise].join(' ')}`),
    `${isSet ? '' : '#'}${name}=${shown}`,
  ];
}

/** Lines of a comment, of at most 120 characters. */
function comment(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line !== '' && line.length + word.length > 117) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line) => `# ${line}`);
}

/** The text of docs/settings.md. */
export function settingsPage(): string {
  const groups = settingGroups.flatMap(({ title, about, settings }) => [
    `## ${title}`,
    '',
    ...(about === undefined ? [] : [about, '']),
    '| setting | means | default | read by |',
    '| --- | --- | --- | --- |',
    ...settings.map(rowOf),
    '',
  ]);
  return `${[...pageHead, ...groups].join('\n').trimEnd()}\n`;
}

const pageHead = [
  '# Settings',
  '',
  'Every setting of the gateway: a variable of the environment, or a line of the file `.env` in the folder where `cvm` or compose runs (`cp .env.example .env`).',
  'The environment comes first, and an empty variable counts as not set. Durations are written `250ms`, `30s`, `15m`, `24h`, `7d`; switches `1` and `0`.',
  'A part that starts names all mistakes at once. What is set on a gateway, and where it comes from: the console, page *Settings*; what is wrong with it: `cvm doctor`.',
  '',
  'Read by: **broker**, **worker** and **console** (`cvm up` is all three), the **commands** that people run, the AWS **stand-in**, and **compose** alone.',
  '',
  '*This page is written from the code: `npm run settings-reference`.*',
  '',
];

function rowOf(entry: SettingEntry): string {
  const { name, meaning, more, readBy } = entry;
  const isWritten = (defaultSettings[name] ?? '') !== '';
  const usual = usualValue(entry) ?? '';
  const cells = [
    `\`${name}\``,
    more === undefined ? meaning : `${meaning} ${more}`,
    isWritten ? `\`${usual}\`` : usual,
    readBy.join(', '),
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
