import type { Command, Option } from 'commander';

/** The page of all commands, docs/commands.md: for each its use, arguments, options and what its help says below them. */
export function commandReference(program: readonly Command[]): string {
  return [
    '# Commands\n\n`npm run reference` writes this page from the code.',
    'Every command has `--help`. Exit status: 0 done, 1 failed, 2 wrong use or a wrong setting; where a command has others, it says so. An error says first what to do (`→`), and then why; with `--json` it is one JSON object on standard error: `error`, `cure` where it is known, `status`. Where a command goes on after a failure of one device or one row of a file, there is such an object for each, on a line of its own, with `serial` and `line` where they are known; what went well is on standard output. Lines of standard error that are no JSON are notes, and no failures. Settings are on [a page of their own](settings.md).',
    ...program.flatMap((command) => sectionsOf(command, ['cvm'])),
    '',
  ].join('\n\n');
}

function sectionsOf(command: Command, parents: readonly string[]): string[] {
  const path = [...parents, command.name()];
  const isGroup = command.commands.length > 0;
  return [
    `${'#'.repeat(path.length)} \`${[...path, ...command.registeredArguments.map(placeOf)].join(' ')}\``,
    sentence(command.description()),
    ...tableOf(command),
    ...afterHelp(command),
    ...(isGroup ? command.commands.flatMap((each) => sectionsOf(each, path)) : []),
  ].filter((part) => part !== '');
}

const placeOf = (argument: { name(): string; required: boolean; variadic: boolean }): string => {
  const name = `${argument.name().toUpperCase()}${argument.variadic ? '…' : ''}`;
  return argument.required ? name : `[${name}]`;
};

function tableOf(command: Command): string[] {
  const rows = [
    ...command.registeredArguments
      .filter(({ description }) => description !== '')
      .map((argument) => row(argument.name().toUpperCase(), argument.description)),
    ...command.options.filter(({ hidden }) => !hidden).map((option) => row(option.flags, describe(option))),
  ];
  return rows.length === 0 ? [] : [['| option | does |', '| --- | --- |', ...rows].join('\n')];
}

const row = (name: string, text: string): string => `| \`${name.replaceAll('|', '\\|')}\` | ${cell(text)} |`;

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '\\<').replaceAll('\n', ' ');

function describe({ description, argChoices, defaultValue, defaultValueDescription }: Option): string {
  const choices = argChoices === undefined ? '' : ` (${argChoices.join(', ')})`;
  const isPlain = ['string', 'number'].includes(typeof defaultValue);
  const usual = defaultValueDescription ?? (isPlain ? String(defaultValue) : undefined);
  return `${description}${choices}${usual === undefined ? '' : ` (default: ${usual})`}`;
}

/** What a help says after its list: examples, and further exit statuses. */
function afterHelp(command: Command): string[] {
  let whole = '';
  command.configureOutput({
    writeOut: (text) => {
      whole += text;
    },
    getOutHelpWidth: () => 100,
  });
  command.outputHelp();
  const text = whole.slice(command.helpInformation().length).trim();
  return text === '' ? [] : [`\`\`\`text\n${text}\n\`\`\``];
}

const sentence = (text: string): string => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`);
