import { PkiError } from '../common/errors/index.ts';
import type { CliContext } from './context.ts';
import { printableLines } from './output.ts';

/**
 * Asks before an act that can not be undone. Throws INVALID_REQUEST if there is no terminal, and
 * CANCELLED if the answer is not yes.
 */
export async function consent(
  context: CliContext,
  consented: boolean | undefined,
  question: string,
): Promise<void> {
  if (consented === true) return;
  const answer = await context.ask(`${printableLines(question)} Type yes: `);
  if (answer === true) return;
  if (answer === undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      'this command asks first, but standard input is not a terminal',
      {
        next: 'Check what the command would do, then add --yes.',
      },
    );
  throw new PkiError('CANCELLED', 'not confirmed; nothing was changed', {
    next: 'Run it again and type yes.',
  });
}
