import type { RetentionStore } from '../ports/index.ts';
import type { CountStates, StateChanges } from './certificates.ts';
import type { Engine } from './engine.ts';
import type { FenceCheck } from './leases.ts';

type Expired = { before: number; limit: number };

/**
 * Removes rows that have long been useless, in small steps: each blocks the writer for a few
 * milliseconds.
 */
export function createRetention(
  engine: Engine,
  checkFence: FenceCheck,
  countStates: CountStates,
): RetentionStore {
  const {
    expired,
    dropCertificate,
    dropNames,
    expiredTokens,
    dropToken,
    checkpoints,
    dropCheckpoint,
  } = retentionStatements(engine);
  return {
    pruneCertificates: (before, limit, lease) =>
      engine.write(() => {
        checkFence(lease);
        const rows = expired.all({ before, limit });
        const changes: { -readonly [State in keyof StateChanges]: StateChanges[State] } = {};
        for (const { sequence, serial, state } of rows) {
          dropNames.run({ serial });
          dropCertificate.run({ sequence });
          if (state !== 'intent') changes[state] = (changes[state] ?? 0) - 1;
        }
        countStates(changes);
        return rows.length;
      }),
    pruneJwtSvids: (before, limit, lease) =>
      engine.write(() => {
        checkFence(lease);
        const rows = expiredTokens.all({ before, limit });
        for (const { sequence } of rows) dropToken.run({ sequence });
        return rows.length;
      }),
    pruneCheckpoints: ({ timeMs, everyMs }, afterSize, limit, lease) =>
      engine.write(() => {
        checkFence(lease);
        const rows = checkpoints.all({ size: afterSize, limit });
        let removed = 0;
        let next: number | undefined;
        for (const [at, row] of rows.entries()) {
          if (row.time_ms >= timeMs) return { removed, next: undefined };
          // the last row has no successor to compare with
          const following = rows[at + 1];
          if (following === undefined) break;
          if (
            Math.floor(following.time_ms / everyMs) === Math.floor(row.time_ms / everyMs) &&
            (signatureLines(row.note) === 1 || signatureLines(following.note) > 1)
          )
            removed += dropCheckpoint.run({ size: row.size });
          next = row.size;
        }
        return { removed, next: rows.length < limit ? undefined : next };
      }),
  };
}

function retentionStatements(engine: Engine) {
  return {
    expired: engine.statement<Expired>()((query, slot) =>
      query
        .selectFrom('certificates')
        .select(['sequence', 'serial', 'state'])
        .where('not_after', '<', slot('before'))
        .where('kind', '<>', 'authority')
        .orderBy('not_after')
        .orderBy('sequence')
        .limit(slot('limit')),
    ),
    dropCertificate: engine.statement<{ sequence: number }>()((query, slot) =>
      query.deleteFrom('certificates').where('sequence', '=', slot('sequence')),
    ),
    dropNames: engine.statement<{ serial: Uint8Array }>()((query, slot) =>
      query.deleteFrom('certificate_names').where('serial', '=', slot('serial')),
    ),
    expiredTokens: engine.statement<Expired>()((query, slot) =>
      query
        .selectFrom('jwt_svids')
        .select('sequence')
        .where('expires_at', '<', slot('before'))
        .orderBy('expires_at')
        .limit(slot('limit')),
    ),
    dropToken: engine.statement<{ sequence: number }>()((query, slot) =>
      query.deleteFrom('jwt_svids').where('sequence', '=', slot('sequence')),
    ),
    checkpoints: engine.statement<{ size: number; limit: number }>()((query, slot) =>
      query
        .selectFrom('log_checkpoints')
        .select(['size', 'time_ms', 'note'])
        .where('size', '>', slot('size'))
        .orderBy('size')
        .limit(slot('limit')),
    ),
    dropCheckpoint: engine.statement<{ size: number }>()((query, slot) =>
      query.deleteFrom('log_checkpoints').where('size', '=', slot('size')),
    ),
  };
}

const signatureLines = (note: string): number =>
  note
    .slice(note.indexOf('\n\n') + 2)
    .split('\n')
    .filter((line) => line !== '').length;
