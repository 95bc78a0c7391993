import type { AuditRecord } from '../domain/index.ts';
import type { AuditStore } from './ports/index.ts';

/** The newest record, of a kind or subject where one is given. Undefined: there is none. */
export async function newestRecord(
  audit: Pick<AuditStore, 'list'>,
  filter: { readonly kind?: string; readonly subject?: string } = {},
): Promise<AuditRecord | undefined> {
  const { items } = await audit.list({ ...filter, newestFirst: true }, { size: 1 });
  return items[0];
}
