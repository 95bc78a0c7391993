import type { Command } from 'commander';
import { PkiError } from '../common/errors/index.ts';

/** Completion scripts, made from the program's own tree of commands. */
export function completionScript(program: Command, shell: string): string {
  const words = tree(
    program,
    [],
    program.options.flatMap((option) => (option.long ? [option.long] : [])),
  );
  switch (shell) {
    case 'bash':
      return `${lookup(words, 'bash')}\n_meshca() {\n  local at="" word\n  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [[ $word == -* ]] || { _meshca_words "$at $word" >/dev/null && at="$at $word"; }; done\n  COMPREPLY=($(compgen -W "$(_meshca_words "$at")" -- "\${COMP_WORDS[COMP_CWORD]}"))\n}\ncomplete -o default -F _meshca meshca\n`;
    case 'zsh':
      return `#compdef meshca\n${lookup(words, 'zsh')}\n_meshca() {\n  local at="" word\n  for word in "\${words[@]:1:$((CURRENT-2))}"; do [[ $word == -* ]] || { _meshca_words "$at $word" >/dev/null && at="$at $word"; }; done\n  compadd -- \${=$(_meshca_words "$at")}\n}\ncompdef _meshca meshca\n`;
    case 'fish':
      return words
        .map(({ path, offers }) => {
          const condition =
            path.length === 0
              ? '__fish_use_subcommand'
              : path.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
          return `complete -c meshca -f -n '${condition}' -a '${offers.join(' ')}'`;
        })
        .join('\n')
        .concat('\n');
    default:
      throw new PkiError('INVALID_REQUEST', `${JSON.stringify(shell)} is none of bash, zsh, fish`);
  }
}

interface Node {
  readonly path: readonly string[];
  readonly offers: readonly string[];
}

/** `everywhere`: options that each command takes. */
function tree(command: Command, path: readonly string[], everywhere: readonly string[]): Node[] {
  const own = command.options.flatMap((option) => (option.long ? [option.long] : []));
  const offers = [
    ...new Set([...command.commands.map((each) => each.name()), ...own, ...everywhere]),
  ];
  return [
    { path, offers },
    ...command.commands.flatMap((each) => tree(each, [...path, each.name()], everywhere)),
  ];
}

const lookup = (words: readonly Node[], _shell: string): string =>
  `_meshca_words() {\n  case "$1" in\n${words.map(({ path, offers }) => `    "${path.map((word) => ` ${word}`).join('')}") echo "${offers.join(' ')}";;`).join('\n')}\n    *) return 1;;\n  esac\n}`;
