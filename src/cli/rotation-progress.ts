import type { RotationStatus__Output } from '../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import { PkiError } from '../common/errors/index.ts';
import { withAdmin } from './connect.ts';
import type { CliContext } from './context.ts';
import type { ServerOptions } from './target.ts';
import { chainPicture } from './rotation-picture.ts';

export interface Goal {
  /** Whether the goal is reached. Throws if it can no longer be reached. */
  readonly reached: (status: RotationStatus__Output) => boolean;
  /** The state in one line, for pipes and logs. */
  readonly line: (status: RotationStatus__Output) => string;
}

/**
 * Follows the state until the goal. A terminal shows a picture that is redrawn; a pipe gets a line
 * for each change; with --json nothing is shown. An interruption does not stop the server. If the
 * server restarts, the command connects again.
 */
export async function follow(
  context: CliContext,
  options: ServerOptions & { readonly json?: boolean },
  goal: Goal,
  patience = { failures: 60, pauseMs: 500 },
): Promise<RotationStatus__Output> {
  const display = new Display(context, options.json === true);
  for (let failures = 0; ; ) {
    try {
      const reached = await withAdmin(context, options, 'Authorities', async (calls) => {
        for await (const status of calls.stream('WatchRotation', {}, context.signal)) {
          failures = 0;
          display.show(status, goal.line(status));
          if (goal.reached(status)) return status;
        }
        return undefined;
      });
      if (reached !== undefined) return reached;
    } catch (thrown) {
      const error = PkiError.from(thrown);
      // a server that restarts goes on, and so does this command
      if (!['UNREACHABLE', 'SHUTTING_DOWN', 'STARTING_UP'].includes(error.code)) throw error;
      failures += 1;
      if (failures > patience.failures)
        throw new PkiError(
          error.code,
          `${error.message}; what the command asked for is on record`,
          {
            cause: error,
            next:
              'Start the server: it goes on with what it has on record, so do not give the ' +
              'command again. Look with "meshca authority status --watch".',
          },
        );
    }
    if (context.signal.aborted)
      throw new PkiError('CANCELLED', 'no longer waiting', {
        next: 'The server goes on by itself. Look again with: meshca authority status --watch.',
      });
    await new Promise<void>((resolve) => setTimeout(resolve, patience.pauseMs));
  }
}

/** Owner of the lines that it drew last. */
class Display {
  readonly #context: CliContext;
  readonly #silent: boolean;
  #drawn = 0;
  #line = '';

  constructor(context: CliContext, silent: boolean) {
    this.#context = context;
    this.#silent = silent;
  }

  show(status: RotationStatus__Output, line: string): void {
    const { terminal, now, out } = this.#context;
    if (this.#silent) return;
    if (!terminal.isTerminal) {
      if (line !== this.#line) out(`${new Date(now() * 1000).toISOString()} ${line}\n`);
      this.#line = line;
      return;
    }
    const lines = chainPicture(status, {
      now: now(),
      columns: terminal.columns,
      color: terminal.color,
      all: false,
      maximumLaggards: 10,
    });
    out(`${this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A\u001b[J`}${lines.join('\n')}\n`);
    this.#drawn = lines.length;
  }
}
