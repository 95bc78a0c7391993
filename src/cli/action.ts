import type { Command } from 'commander';
import { PkiError } from '../common/errors/index.ts';
import type { ServerOptions } from './target.ts';
import type { CliContext } from './context.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { interruption, unlessInterrupted } from './interruption.ts';
import { printError } from './output.ts';

export interface GlobalOptions extends ServerOptions {
  readonly json?: boolean;
}

/** Receives the exit code of an action. A failure has a code from the table. */
export interface Outcome {
  exitCode: number;
}

/**
 * Wraps the action of a command. It gets the options of the command and of the program. An error is
 * printed once, with its code and advice. The exit code comes from the table.
 */
export function action<O extends object>(
  context: CliContext,
  outcome: Outcome,
  run: (options: O & GlobalOptions, args: readonly string[]) => Promise<number | void>,
): (...parameters: unknown[]) => Promise<void> {
  return async (...parameters) => {
    const command = parameters.at(-1) as Command;
    const options = command.optsWithGlobals() as O & GlobalOptions;
    try {
      const done = run(
        options,
        command.processedArgs.flat().filter((argument) => argument !== undefined) as string[],
      );
      // servers and agents finish what they have begun, and then stop by themselves
      outcome.exitCode =
        (await (isService(command) ? done : unlessInterrupted(context, done))) ?? 0;
    } catch (thrown) {
      if (context.signal.aborted && !isService(command)) {
        if (!isWatch(command))
          printError(context, interruption(context, thrown), options.json === true);
        outcome.exitCode = exitCodes.interrupted;
        return;
      }
      const error = withHelp(PkiError.from(thrown), command);
      printError(context, error, options.json === true);
      outcome.exitCode = exitCodeOf(error);
    }
  };
}

/** Whether an interruption is the normal end of this command. */
const isWatch = (command: Command): boolean =>
  command.name() === 'watch' || command.opts()['watch'] === true;

const isService = (command: Command): boolean => command.name() === 'run';

/**
 * An error of the command line itself names no request. The command's help says more about it than
 * the advice for callers of the API.
 */
function withHelp(error: PkiError, command: Command): PkiError {
  if (
    error.code !== 'INVALID_REQUEST' ||
    error.next !== error.info.next ||
    error.detail['requestId'] !== undefined ||
    error.detail['refusalId'] !== undefined
  )
    return error;
  return new PkiError(error.code, error.message, {
    cause: error,
    detail: error.detail,
    next: `Correct it; "${pathOf(command)} --help" describes the command.`,
  });
}

/** The command with those above it, as a person types it. */
export const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;

/** Collects a repeatable option. */
export const collect = (
  value: string,
  before: readonly string[] | undefined,
): readonly string[] => [...(before ?? []), value];

/**
 * Reads a paged list to its end, or to `limit`. If there is more, it says so on standard error, so
 * that nobody takes a part for the whole.
 */
export async function allPages<T>(
  context: CliContext,
  limit: number,
  fetch: (page: {
    readonly size: number;
    readonly token: string;
  }) => Promise<{ readonly items: readonly T[]; readonly next: string }>,
): Promise<readonly T[]> {
  const listed: T[] = [];
  let token = '';
  do {
    const { items, next } = await fetch({ size: Math.min(500, limit - listed.length), token });
    listed.push(...items);
    token = next;
  } while (token !== '' && listed.length < limit);
  if (token !== '') context.err(`only the first ${listed.length} are listed; --limit shows more\n`);
  return listed;
}

/** The first item of a paged list that `isIt` accepts. Throws NOT_FOUND. */
export async function theOne<T>(
  what: string,
  isIt: (item: T) => boolean,
  fetch: (page: {
    readonly size: number;
    readonly token: string;
  }) => Promise<{ readonly items: readonly T[]; readonly next: string }>,
): Promise<T> {
  let token = '';
  do {
    const { items, next } = await fetch({ size: 500, token });
    const listed = items.find(isIt);
    if (listed !== undefined) return listed;
    token = next;
  } while (token !== '');
  throw new PkiError('NOT_FOUND', `there is no ${what}`);
}

export const limitOf = (options: { readonly limit?: string }): number => {
  const limit = wholeNumber('--limit', options.limit ?? '1000');
  if (limit < 1)
    throw new PkiError(
      'INVALID_REQUEST',
      `--limit ${JSON.stringify(options.limit)} is not a positive whole number`,
    );
  return limit;
};

/** Number() reads '' and ' ' as 0, and words as NaN, which the wire carries as 0. */
export function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,15}$/.test(text))
    throw new PkiError('INVALID_REQUEST', `${name} ${JSON.stringify(text)} is not a whole number`);
  return Number(text);
}
