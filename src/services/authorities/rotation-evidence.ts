import { PkiError } from '../../common/errors/index.ts';
import { EvidenceCheck } from '../../common/tlog/index.ts';
import { readCanonical } from '../../domain/index.ts';
import type { LedgerEvidence } from '../../ledger/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { EvidencePart } from '../services.ts';

/** Most often it is the newest one. */
const recordsOnPage = 20;

export interface EvidenceSource {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly evidence: LedgerEvidence;
}

/**
 * The consumers that were counted when an authority last became active. Each part is checked
 * against the log before it is yielded. Before this resolves, it is known that the first records
 * cover the list, so that the caller gets a plain refusal where possible.
 */
export async function evidenceParts(
  authorityId: string,
  { audit, evidence }: EvidenceSource,
): Promise<AsyncIterable<EvidencePart>> {
  const sha256 = evidence.expected(authorityId);
  if (sha256 === undefined) {
    throw new PkiError(
      'NOT_FOUND',
      `the log has no list of the consumers that had confirmed authority ${authorityId}`,
      {
        next:
          'There is no list before an authority signs, for authorities of a first start, and ' +
          'from servers of releases without lists.',
      },
    );
  }
  const checking = async <T>(act: () => T | Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (thrown) {
      if (PkiError.from(thrown).code === 'EVIDENCE_INVALID') evidence.altered(authorityId);
      throw thrown;
    }
  };
  const statement = (await evidence.statement(sha256)) ?? Buffer.alloc(0);
  const check = await checking(() => new EvidenceCheck({ authorityId, sha256 }, statement));
  const sequence = await sequenceOf(authorityId, sha256, audit);
  return (async function* parts(): AsyncGenerator<EvidencePart> {
    yield { part: 'statement', sha256, statement, sequence };
    for (let index = 0; index < check.statement.chunks.length; index += 1) {
      const lines = (await evidence.chunk(sha256, index)) ?? Buffer.alloc(0);
      await checking(() => check.chunk(lines));
      yield { part: 'lines', lines };
    }
    await checking(() => check.finish());
  })();
}

async function sequenceOf(
  authorityId: string,
  sha256: string,
  audit: Pick<AuditStore, 'list'>,
): Promise<number> {
  const filter = { subject: authorityId, kind: 'authority.active', newestFirst: true };
  const pages = pagesOf((page) => audit.list(filter, page), { size: recordsOnPage });
  for await (const records of pages) {
    const record = records.find(
      ({ canonical }) => readCanonical(canonical)?.detail['evidence'] === sha256,
    );
    if (record !== undefined) return record.sequence;
  }
  return 0;
}
