import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { ActivationEvidence } from '../../common/tlog/index.ts';
import type { EvidenceStore } from '../ports/index.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';

/** Runs inside the caller's transaction. */
export type EvidenceWriter = (
  authorityId: string,
  evidence: ActivationEvidence,
  now: number,
) => void;

/** A part has a thousand lines of bounded fields. A larger one was not written by this program. */
const maximumPartBytes = 16 * 1024 * 1024;

/** A list repeats many words: deflate shrinks it to a tenth. It is kept as long as its record. */
export function createEvidence(engine: Engine): {
  readonly store: EvidenceStore;
  readonly write: EvidenceWriter;
} {
  const { insert, insertPart, statement, part } = evidenceStatements(engine);
  return {
    write: (authorityId, evidence, now) => {
      insert.run({
        sha256: evidence.sha256,
        authority_id: authorityId,
        created_at: now,
        statement: evidence.statement,
      });
      for (const [position, chunk] of evidence.chunks.entries())
        insertPart.run({
          sha256: evidence.sha256,
          position,
          deflated: deflateRawSync(chunk, { level: 3 }),
        });
    },
    store: {
      statement: (sha256) =>
        engine.read(() => {
          const row = statement.get({ sha256 });
          return row === undefined ? undefined : bytes(row.statement);
        }),
      chunk: (sha256, index) =>
        engine.read(() => {
          const row = part.get({ sha256, position: index });
          return row === undefined ? undefined : inflated(bytes(row.deflated));
        }),
    },
  };
}

function evidenceStatements(engine: Engine) {
  return {
    insert: engine.statement<{
      sha256: string;
      authority_id: string;
      created_at: number;
      statement: Buffer;
    }>()((query, slot) =>
      query.insertInto('activation_evidence').values({
        sha256: slot('sha256'),
        authority_id: slot('authority_id'),
        created_at: slot('created_at'),
        statement: slot('statement'),
      }),
    ),
    insertPart: engine.statement<{ sha256: string; position: number; deflated: Buffer }>()(
      (query, slot) =>
        query.insertInto('activation_evidence_parts').values({
          sha256: slot('sha256'),
          position: slot('position'),
          deflated: slot('deflated'),
        }),
    ),
    statement: engine.statement<{ sha256: string }>()((query, slot) =>
      query
        .selectFrom('activation_evidence')
        .select('statement')
        .where('sha256', '=', slot('sha256')),
    ),
    part: engine.statement<{ sha256: string; position: number }>()((query, slot) =>
      query
        .selectFrom('activation_evidence_parts')
        .select('deflated')
        .where('sha256', '=', slot('sha256'))
        .where('position', '=', slot('position')),
    ),
  };
}

/**
 * Data that does not inflate is returned unchanged. It is not what was written, and the comparison
 * with the log will fail.
 */
function inflated(data: Buffer): Buffer {
  try {
    return inflateRawSync(data, { maxOutputLength: maximumPartBytes });
  } catch {
    return data;
  }
}
