import { join } from 'node:path';
import type { Left } from '../ports/consumers.ts';
import { readPrivateFile, replaceFile } from './files.ts';

export const holdingsFile = 'holdings.json';
const maximumRecords = 100_000;

/**
 * Writes which consumers of this node have received certificates, and until when those may be in
 * use, so that a restarted agent still names a holder that lags. No secrets. A file that can't be
 * read is ignored: it helps rotations, and the agent works without it.
 */
export async function saveHoldings(directory: string, records: Iterable<Left>): Promise<void> {
  await replaceFile(
    join(directory, holdingsFile),
    `${JSON.stringify({ version: 1, holders: [...records].slice(0, maximumRecords) })}\n`,
  );
}

export async function loadHoldings(directory: string): Promise<readonly Left[]> {
  try {
    const text = await readPrivateFile(join(directory, holdingsFile));
    const record = JSON.parse(text ?? '{}') as {
      readonly version?: unknown;
      readonly holders?: unknown;
    };
    return record.version === 1 && Array.isArray(record.holders)
      ? (record.holders as unknown[]).filter(isLeft)
      : [];
  } catch {
    return [];
  }
}

function isLeft(value: unknown): value is Left {
  const { spiffeId, takes, state, digest, description, holder, until, inferred } = (value ??
    {}) as Record<string, unknown>;
  return (
    typeof spiffeId === 'string' &&
    (takes === 'roots' || takes === 'jwt') &&
    (state === 'pending' || state === 'confirmed') &&
    typeof digest === 'string' &&
    /^([0-9a-f]{64})?$/.test(digest) &&
    typeof description === 'string' &&
    typeof holder === 'string' &&
    typeof until === 'number' &&
    (inferred === undefined || typeof inferred === 'boolean')
  );
}
