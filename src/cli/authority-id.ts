import { PkiError } from '../common/errors/index.ts';
import type { GlobalOptions } from './action.ts';
import { withAdmin } from './connect.ts';
import type { CliContext } from './context.ts';

/**
 * Resolves the ID of an authority, given whole or as its end in `authority status`. Throws
 * NOT_FOUND if no ID ends so, and INVALID_REQUEST if several do.
 */
export async function authorityId(
  context: CliContext,
  options: GlobalOptions,
  text: string,
): Promise<string> {
  if (!/^[0-9a-f]{6,12}$/.test(text)) return text;
  const { authorities } = await withAdmin(context, options, 'Authorities', (calls) =>
    calls.call('ListAuthorities', { page: { size: 0, token: '' }, kind: '', state: '' }),
  );
  const [match, ...more] = authorities.map(({ id }) => id).filter((id) => id.endsWith(text));
  if (match === undefined)
    throw new PkiError('NOT_FOUND', `no authority has an ID that ends in ${text}`, {
      next: 'See meshca authority list, or status --all.',
    });
  if (more.length > 0)
    throw new PkiError(
      'INVALID_REQUEST',
      `several authorities have an ID that ends in ${text}: ${[match, ...more].join(', ')}`,
      { next: 'Give the whole ID.' },
    );
  return match;
}
