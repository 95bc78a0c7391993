import type { CliContext } from './context.ts';
import { writeStream } from './files.ts';

const everyMs = 1_000;
/** Shorter waits print nothing. */
const quietTurns = 2;

/**
 * Shows on a terminal what the command waits for, in one line that is redrawn each second. `line`
 * is called each time. Returns the function that clears the line.
 */
export function showProgress(
  { terminal, err }: Pick<CliContext, 'terminal' | 'err'>,
  line: (seconds: number) => string,
): () => void {
  if (!terminal.isTerminal) return () => {};
  let turns = 0;
  const timer = setInterval(() => {
    if (++turns >= quietTurns) err(`\r\u001b[K${line(turns)}`);
  }, everyMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    if (turns >= quietTurns) err('\r\u001b[K');
  };
}

/** `writeStream` of files.ts with a display of progress. */
export async function writeWithProgress(
  context: CliContext,
  path: string,
  stream: (write: (data: Buffer) => Promise<void>) => Promise<void>,
): Promise<number> {
  let bytes = 0;
  const end = showProgress(context, () => `${path}: ${bytes} bytes so far`);
  try {
    return await writeStream(path, context.signal, (write) =>
      stream(async (data) => {
        await write(data);
        bytes += data.length;
      }),
    );
  } finally {
    end();
  }
}
