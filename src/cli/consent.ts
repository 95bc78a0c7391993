import { PkiError } from '../common/errors/index.ts';
import type { CliContext } from './context.ts';

/** Asks before what can not be taken back. Throws INVALID_REQUEST where nobody can be asked, CANCELLED. */
export async function consent(
  context: CliContext,
  given: boolean | undefined,
  question: string,
): Promise<void> {
  if (given === true) return;
  const answer = await context.ask(`${question} Type yes: `);
  if (answer === true) return;
  if (answer === undefined)
    throw new PkiError('INVALID_REQUEST', 'this asks first, and standard input is no terminal', {
      next: 'Look at it, then add --yes.',
    });
  throw new PkiError('CANCELLED', 'not confirmed, nothing was done', {
    next: 'Run it again and type yes.',
  });
}
