import type { Command } from 'commander';
import { PkiError } from '../common/errors/index.ts';
import { argumentValues, optionValues } from './option-values.ts';

/** Completion scripts, generated from the program's tree of commands. */
export function completionScript(program: Command, shell: string): string {
  const nodes = tree(program, [], longFlags(program));
  switch (shell) {
    case 'bash':
      return `${lookup(nodes)}
_meshca() {
${offered('${COMP_WORDS[@]:1:COMP_CWORD-1}', '${COMP_WORDS[COMP_CWORD-1]}')}
  COMPREPLY=($(compgen -W "$values" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _meshca meshca
`;
    case 'zsh':
      return `#compdef meshca
${lookup(nodes)}
_meshca() {
${offered('${words[@]:1:$((CURRENT-2))}', '${words[CURRENT-1]}')}
  compadd -- \${=values}
}
compdef _meshca meshca
`;
    case 'fish':
      return fishScript(nodes);
    default:
      throw new PkiError('INVALID_REQUEST', `${JSON.stringify(shell)} is none of bash, zsh, fish`);
  }
}

/** Lines that set `values`, for bash and zsh: the words before the present one, and the last of them. */
const offered = (words: string, last: string): string => `  local at="" word values
  for word in "${words}"; do
    [[ $word == -* ]] && continue
    _meshca_words "$at $word" >/dev/null && at="$at $word"
  done
  [[ ${last} == -* ]] && values=$(_meshca_words "$at ${last}") || values=$(_meshca_words "$at")`;

function fishScript(nodes: readonly Node[]): string {
  return nodes
    .map(({ path, offers }) => {
      const option = path.at(-1)?.startsWith('--') === true ? path.at(-1) : undefined;
      const commands = option === undefined ? path : path.slice(0, -1);
      const condition =
        commands.length === 0
          ? '__fish_use_subcommand'
          : commands.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
      const place = option === undefined ? '-f' : `-x -l ${option.slice(2)}`;
      return `complete -c meshca ${place} -n '${condition}' -a '${offers.join(' ')}'`;
    })
    .join('\n')
    .concat('\n');
}

/** A command, or an option with values. For an option, it is the last word. */
interface Node {
  readonly path: readonly string[];
  readonly offers: readonly string[];
}

const longFlags = (command: Command): string[] =>
  command.options.flatMap((option) => (option.long ? [option.long] : []));

/** `everywhere`: the options that every command takes. */
function tree(command: Command, path: readonly string[], everywhere: readonly string[]): Node[] {
  const typed = ['meshca', ...path].join(' ');
  const offers = [
    ...new Set([
      ...command.commands.map((subcommand) => subcommand.name()),
      ...argumentValues(typed),
      ...longFlags(command),
      ...everywhere,
    ]),
  ];
  return [
    { path, offers },
    ...optionValues(command, typed).map(([flag, values]) => ({
      path: [...path, flag],
      offers: values,
    })),
    ...command.commands.flatMap((subcommand) =>
      tree(subcommand, [...path, subcommand.name()], everywhere),
    ),
  ];
}

const lookup = (nodes: readonly Node[]): string => {
  const cases = nodes.map(({ path, offers }) => {
    const words = path.map((word) => ` ${word}`).join('');
    return `    "${words}") echo "${offers.join(' ')}";;`;
  });
  return `_meshca_words() {\n  case "$1" in\n${cases.join('\n')}\n    *) return 1;;\n  esac\n}`;
};
