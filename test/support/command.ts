import { runCli } from '../../src/cli/program.ts';
import type { CliContext } from '../../src/cli/context.ts';
import type { TestServer } from './server.ts';

export interface CommandEnd {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** What tests give to commands in place of a process; `seen` has what was printed. */
export function testContext(given: Partial<CliContext> = {}): {
  readonly context: CliContext;
  readonly seen: { out: string; err: string };
} {
  const seen = { out: '', err: '' };
  const context: CliContext = {
    env: {},
    out: (text) => void (seen.out += text),
    err: (text) => void (seen.err += text),
    readStdin: async () => '',
    ask: async () => undefined,
    terminal: { isTerminal: false, columns: 140, color: false },
    signal: new AbortController().signal,
    now: () => Math.floor(Date.now() / 1000),
    dependencies: {} as CliContext['dependencies'],
    ...given,
  };
  return { context, seen };
}

/**
 * A command against the server's local socket, as a person types it and pipes it somewhere, in this
 * process.
 */
export async function runCommand(
  server: TestServer,
  args: readonly string[],
  given: Partial<CliContext> = {},
): Promise<CommandEnd> {
  const { context, seen } = testContext(given);
  const code = await runCli(['--server-socket', server.server.adminSocketPath, ...args], context);
  return { code, ...seen };
}
