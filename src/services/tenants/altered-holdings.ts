import { leafHash, readCanonical } from '../../domain/index.ts';
import type { LedgerAcme } from '../../ledger/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';
import type { AlteredObject } from './tenants.ts';

export interface AlteredHoldingsDependencies {
  readonly acme: Pick<LedgerAcme, 'eabKeys' | 'accounts'>;
  readonly audit: Pick<AuditStore, 'list'>;
  readonly facts: Pick<LogFacts, 'holds'>;
}

const creations: Readonly<Record<AlteredObject['kind'], string>> = {
  'eab-key': 'eab-key.created',
  'acme-account': 'acme.account.created',
};

/**
 * The EAB keys and accounts of a tenant whose rows are missing or altered. A row may have been moved
 * to another tenant: the record of the creation says whose it is, and it never changes hands.
 */
export async function alteredHoldings(
  dependencies: AlteredHoldingsDependencies,
  tenant: string,
): Promise<readonly AlteredObject[]> {
  const { eabKeys, accounts } = dependencies.acme;
  const found: AlteredObject[] = [];
  for (const [kind, ids] of [
    ['eab-key', await eabKeys.altered()],
    ['acme-account', await accounts.altered()],
  ] as const)
    for (const id of ids)
      if ((await tenantByLog(dependencies, { kind, id })) === tenant) found.push({ kind, id });
  return found;
}

async function tenantByLog(
  { audit, facts }: AlteredHoldingsDependencies,
  { kind, id }: AlteredObject,
): Promise<unknown> {
  const filter = { subject: id, kind: creations[kind] };
  // to the end: whoever writes rows past the log can put any number of them before the true one
  for await (const records of pagesOf((page) => audit.list(filter, page)))
    for (const { sequence, canonical } of records) {
      const content = readCanonical(canonical);
      if (content?.kind !== creations[kind] || content.subject !== id) continue;
      if (await facts.holds(sequence, leafHash(canonical))) return content.detail['tenant'];
    }
  return undefined;
}
