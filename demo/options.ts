import { join, resolve } from 'node:path';
import { PkiError } from '../src/common/errors/index.ts';

export interface DemoOptions {
  /**
   * Ends by itself this many seconds after the first request in mTLS. Undefined: runs until it is
   * stopped.
   */
  readonly seconds: number | undefined;
  readonly json: boolean;
  readonly home: string;
  readonly help: boolean;
  /** The entry of the product whose processes are started; undefined: that of this build. */
  readonly product: string | undefined;
}

export const usage = `Starts a CA with SoftHSM, an agent and two workloads in mTLS, and shows them.

  npm start -- [--seconds N] [--json] [--home DIR]

  --seconds N      end N seconds after the first request (default: run until Ctrl-C)
  --json           print one line of figures at the end instead of the picture; needs --seconds
  --product FILE   start server, agent and CLI from this file instead of this build
  --home DIR       where keys, database and logs are kept (default: $MESHCA_HOME, or .meshca)
`;

/** Throws INVALID_REQUEST. */
export function parseOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  folder: string,
): DemoOptions {
  let seconds: number | undefined;
  let json = false;
  let help = false;
  let product: string | undefined;
  let home = env['MESHCA_HOME'];
  for (let index = 0; index < args.length; index += 1) {
    const [name, inline] = (args[index] as string).split('=', 2) as [string, string | undefined];
    const value = (): string => {
      const text = inline ?? args[(index += 1)];
      if (text === undefined || text === '')
        throw new PkiError('INVALID_REQUEST', `${name} needs a value`, { next: usage });
      return text;
    };
    if (name === '--seconds') seconds = positive(value());
    else if (name === '--home') home = value();
    else if (name === '--product') product = resolve(folder, value());
    else if (name === '--json') json = true;
    else if (name === '--help' || name === '-h') help = true;
    else throw new PkiError('INVALID_REQUEST', `unknown option ${name}`, { next: usage });
  }
  if (json && seconds === undefined && !help)
    throw new PkiError('INVALID_REQUEST', '--json needs --seconds', { next: usage });
  return {
    seconds,
    json,
    help,
    product,
    home: resolve(folder, home === undefined || home === '' ? join(folder, '.meshca') : home),
  };
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0 || value > 86_400)
    throw new PkiError(
      'INVALID_REQUEST',
      `--seconds ${text} is not a number of seconds up to 86400`,
      { next: usage },
    );
  return value;
}
