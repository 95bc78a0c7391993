import { join } from 'node:path';
import type { Left } from '../ports/consumers.ts';
import { readPrivateFile, replaceFile } from './files.ts';

export const holdingsFile = 'holdings.json';
const maximumRecords = 100_000;

/**
 * Keeps who on this node was given a certificate, and until when it may be in use, so that an agent
 * that restarts does not forget a holder that lags. No secrets. What can not be read is left out:
 * it is a help for rotations, no ground to fail.
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
  const { spiffeId, takes, state, digest, description, holder, until } = (value ?? {}) as Record<
    string,
    unknown
  >;
  return (
    typeof spiffeId === 'string' &&
    (takes === 'roots' || takes === 'jwt') &&
    (state === 'pending' || state === 'confirmed') &&
    typeof digest === 'string' &&
    /^([0-9a-f]{64})?$/.test(digest) &&
    typeof description === 'string' &&
    typeof holder === 'string' &&
    typeof until === 'number'
  );
}
