import { runCli } from '../../src/cli/program.ts';
import type { CliContext } from '../../src/cli/context.ts';
import type { TestServer } from './server.ts';

export interface CommandEnd {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/**
 * A command against the server's local socket, as a person types it and pipes it somewhere, in this
 * process.
 */
export async function runCommand(server: TestServer, args: readonly string[]): Promise<CommandEnd> {
  let out = '';
  let err = '';
  const context: CliContext = {
    env: {},
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    readStdin: async () => '',
    terminal: { isTerminal: false, columns: 140, color: false },
    signal: new AbortController().signal,
    now: () => Math.floor(Date.now() / 1000),
    parts: {} as CliContext['parts'],
  };
  const code = await runCli(['--server-socket', server.server.adminSocketPath, ...args], context);
  return { code, out, err };
}
