import type { Entry } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { GlobalOptions } from './action.ts';
import { absentParents } from './agent-id.ts';
import type { CliContext } from './context.ts';
import { printable } from './output.ts';
import { expectPossible } from './selector-values.ts';
import { oddSelector } from './selector-hints.ts';

/** Node sets have selectors of nodes, which are free. */
const serverPath = '/meshca/server';

/**
 * Notes selectors that no agent makes. The server takes them, since agents of a later release may
 * make them; most of the time they are typos. Throws SELECTOR_INVALID for a value that no process can
 * have.
 */
export function checkSelectors(
  context: CliContext,
  options: GlobalOptions,
  entries: readonly Entry[],
): void {
  const selectors = entries
    .filter(({ parentId }) => !parentId?.endsWith(serverPath))
    .flatMap((entry) => entry.selectors ?? []);
  for (const selector of selectors) expectPossible(selector);
  if (options.json) return;
  const notes = new Set(selectors.flatMap(oddSelector));
  const shown = [...notes].slice(0, 10);
  for (const note of shown) context.err(`note: ${printable(note)}\n`);
  if (notes.size > shown.length)
    context.err(`note: ${notes.size - shown.length} more of this sort\n`);
}

/**
 * Notes parents that have never joined. An entry may come before its agent; at times it is a typo.
 * The call itself is done: a failure here is left out.
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
      `note: no agent has joined as ${printable(id)} so far; its entries count from when one does\n`,
    );
  if (absent.length > 10)
    context.err(`note: ${absent.length - 10} more parents that have never joined\n`);
}
