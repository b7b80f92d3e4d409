import { Argument, Command } from 'commander';

/** What a shell completes: the words after a command, and its options with the values that each may have. */
export type Completions = {
  readonly words: ReadonlyMap<string, readonly string[]>;
  /** by the path of the command and the option, such as `devices list --state` */
  readonly values: ReadonlyMap<string, readonly string[]>;
};

export type CompletionContext = {
  /** the whole program, with the code of all its commands: this takes a second, once */
  program(): Promise<Command>;
  write(line: string): void;
};

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;
type Shell = keyof typeof scripts;

const help = `
bash   cvm completion bash > ~/.local/share/bash-completion/completions/cvm
zsh    cvm completion zsh > "\${fpath[1]}/_cvm"
fish   cvm completion fish > ~/.config/fish/completions/cvm.fish

A new shell completes commands and options with the Tab key. After an update of cvm write it again.`;

export function completionCommand({ program, write }: CompletionContext): Command {
  return new Command('completion')
    .addArgument(new Argument('<shell>').choices(Object.keys(scripts)))
    .addHelpText('after', help)
    .action(async (shell: Shell) => write(scripts[shell](completionsOf(await program())).trimEnd()));
}

export function completionsOf(program: Command): Completions {
  const words = new Map<string, string[]>();
  const values = new Map<string, string[]>();
  const visit = (command: Command, path: string) => {
    const options = command.options.filter(({ hidden }) => !hidden);
    words.set(path, [
      ...command.commands.map((each) => each.name()),
      ...command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
      ...options.map(({ long, short }) => long ?? short ?? ''),
      '--help',
    ]);
    for (const { long, argChoices } of options)
      if (long !== undefined && argChoices !== undefined) values.set(`${path} ${long}`.trim(), argChoices);
    for (const each of command.commands) visit(each, `${path} ${each.name()}`.trim());
  };
  visit(program, '');
  return { words, values };
}

/** A shell takes a quoted word as it is. None of our names has a quote in it. */
const quoted = (text: string): string => `'${text}'`;

const casesOf = (entries: ReadonlyMap<string, readonly string[]>, line: (list: string) => string): string =>
  [...entries].map(([path, list]) => `    ${quoted(path)}) ${line(quoted(list.join(' ')))} ;;`).join('\n');

/**
 * Follows the words of the line from command to command as far as they are commands. Where neither a command nor a list of values fits,
 * the shell offers files.
 */
const bashFunctions = ({ words, values }: Completions): string => `_cvm_words() {
  case "$1" in
${casesOf(words, (list) => `echo ${list}`)}
    *) return 1 ;;
  esac
}
_cvm_values() {
  case "$1" in
${casesOf(values, (list) => `echo ${list}`)}
    *) return 1 ;;
  esac
}
_cvm_at() {
  local at="" word next
  for word in "$@"; do
    next="\${at:+$at }$word"
    _cvm_words "$next" > /dev/null && at="$next"
  done
  echo "$at"
}
_cvm_list() {
  local at before="$1" current="$2" list
  shift 2
  at="$(_cvm_at "$@")"
  if ! list="$(_cvm_values "\${at:+$at }$before")"; then
    list="$(_cvm_words "$at")"
    # an option stands for itself only where the word begins like one: else the shell offers files
    case "$current" in -*) ;; *) list="\${list%%--*}" ;; esac
  fi
  echo "$list"
}`;

function bashScript(completions: Completions): string {
  return `# completion of cvm for bash
${bashFunctions(completions)}
_cvm() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="" list
  (( COMP_CWORD > 0 )) && before="\${COMP_WORDS[COMP_CWORD-1]}"
  list="$(_cvm_list "$before" "$current" "\${COMP_WORDS[@]:1:COMP_CWORD-1}")"
  COMPREPLY=($(compgen -W "$list" -- "$current"))
}
complete -o default -F _cvm cvm
`;
}

function zshScript(completions: Completions): string {
  return `#compdef cvm
# completion of cvm for zsh
${bashFunctions(completions)}
_cvm() {
  local list
  list="$(_cvm_list "\${words[CURRENT-1]}" "\${words[CURRENT]}" "\${(@)words[2,CURRENT-1]}")"
  compadd -- \${=list} || _files
}
compdef _cvm cvm
`;
}

function fishScript({ words, values }: Completions): string {
  const cases = (entries: ReadonlyMap<string, readonly string[]>) =>
    [...entries].map(([path, list]) => `    case ${quoted(path)}\n      printf '%s\\n' ${list.map(quoted).join(' ')}`);
  return `# completion of cvm for fish
function __cvm_words
  switch "$argv[1]"
${cases(words).join('\n')}
    case '*'
      return 1
  end
end
function __cvm_values
  switch "$argv[1]"
${cases(values).join('\n')}
    case '*'
      return 1
  end
end
function __cvm
  set -l tokens (commandline -opc)
  set -l path ''
  for word in $tokens[2..-1]
    set -l next (string trim "$path $word")
    __cvm_words "$next" > /dev/null; and set path "$next"
  end
  __cvm_values (string trim "$path $tokens[-1]"); or __cvm_words "$path"
end
complete -c cvm -a '(__cvm)'
`;
}
