import { expectPossible } from '../common/spiffe/index.ts';
import type { Entry } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { GlobalOptions } from './action.ts';
import { absentParents } from './agent-id.ts';
import { withAdmin } from './connect.ts';
import type { CliContext } from './context.ts';
import { printable } from './output.ts';
import { oddSelector } from './selector-hints.ts';

/**
 * Node sets have selectors of nodes, and entries below an issuer of tokens have claims. Both can be
 * any text.
 */
const hasOtherSelectors = (parentId = ''): boolean =>
  /\/meshca\/(?:server|token-issuer\/[^/]+)$/.test(parentId);

/**
 * Prints a note for each selector that no agent produces. The server accepts these selectors, since
 * agents of a later release may produce them. But most of them are typos. Throws SELECTOR_INVALID
 * for a value that no process can have.
 */
export function checkSelectors(
  context: CliContext,
  options: GlobalOptions,
  entries: readonly Entry[],
): void {
  const selectors = entries
    .filter(({ parentId }) => !hasOtherSelectors(parentId))
    .flatMap((entry) => entry.selectors ?? []);
  for (const selector of selectors) expectPossible(selector);
  if (options.json) return;
  const notes = new Set(selectors.flatMap(oddSelector));
  const shown = [...notes].slice(0, 10);
  for (const note of shown) context.err(`note: ${printable(note)}\n`);
  if (notes.size > shown.length)
    context.err(`note: ${notes.size - shown.length} more notes of this kind\n`);
}

/**
 * Prints a note for each parent that has never joined. An entry may be created before its agent
 * joins, but the parent may also be a typo. The call itself has succeeded: a failure here is
 * ignored.
 */
export async function noteAbsentParents(
  context: CliContext,
  options: GlobalOptions,
  parentIds: readonly string[],
): Promise<void> {
  if (options.json) return;
  const absent = await absentParents(context, options, parentIds).catch(() => []);
  for (const id of absent.slice(0, 10))
    context.err(
      `note: no agent has joined as ${printable(id)} yet; its entries take effect when one joins\n`,
    );
  if (absent.length > 10)
    context.err(`note: ${absent.length - 10} more parents that have never joined\n`);
}

/**
 * Prints a note for each foreign trust domain without a relationship: no bundle of it comes. The
 * relationship may follow, but the name may also be a typo. A failure here is ignored.
 */
export async function noteAbsentRelationships(
  context: CliContext,
  options: GlobalOptions,
  names: readonly string[],
): Promise<void> {
  if (options.json || names.length === 0) return;
  const known = await withAdmin(context, options, 'Federation', (calls) =>
    calls.call('ListRelationships', {}),
  ).catch(() => undefined);
  if (known === undefined) return;
  const absent = [...new Set(names)].filter((name) =>
    known.relationships.every(({ trustDomain }) => trustDomain !== name),
  );
  for (const name of absent.slice(0, 10))
    context.err(
      `note: there is no relationship with ${printable(name)}, so that no bundle of it comes; ` +
        '"meshca federation create" makes one\n',
    );
}
