import { join } from 'node:path';
import type { AgentEntry } from '../ports/entries.ts';
import { openPrivateFile, replaceFile } from './files.ts';

export interface SyncPosition {
  readonly epoch: string;
  readonly revision: number;
}

export const entriesFile = 'entries.ndjson';
const linesPerWrite = 200;

/**
 * Writes the entries with their position, one a line, so that an agent that restarts during an
 * outage of the CA knows whom it may serve. The file is only a cache: if it can't be read, the
 * agent asks for a snapshot.
 */
export async function saveEntries(
  directory: string,
  agentId: string,
  position: SyncPosition,
  entries: Iterable<AgentEntry>,
): Promise<void> {
  await replaceFile(join(directory, entriesFile), lines(agentId, position, entries));
}

async function* lines(
  agentId: string,
  position: SyncPosition,
  entries: Iterable<AgentEntry>,
): AsyncGenerator<string> {
  yield `${JSON.stringify({ version: 1, agentId, ...position })}\n`;
  let block = '';
  let count = 0;
  // copied, since the live collection may change while this waits for the disk
  for (const entry of [...entries]) {
    block += `${JSON.stringify({ ...entry, placeholders: [...entry.placeholders] })}\n`;
    count += 1;
    if (count % linesPerWrite !== 0) continue;
    yield block;
    block = '';
  }
  yield `${block}${JSON.stringify({ end: count })}\n`;
}

/** Undefined if there is no file, or none that is whole and of this agent. */
export async function loadEntries(
  directory: string,
  agentId: string,
): Promise<
  { readonly position: SyncPosition; readonly entries: readonly AgentEntry[] } | undefined
> {
  const file = await openPrivateFile(join(directory, entriesFile)).catch(() => undefined);
  if (file === undefined) return undefined;
  const entries: AgentEntry[] = [];
  let position: SyncPosition | undefined;
  let whole = false;
  try {
    for await (const line of file.readLines()) {
      const record = JSON.parse(line) as Record<string, unknown>;
      if (position === undefined) {
        if (
          record['version'] !== 1 ||
          record['agentId'] !== agentId ||
          typeof record['epoch'] !== 'string' ||
          typeof record['revision'] !== 'number'
        )
          return undefined;
        position = { epoch: record['epoch'], revision: record['revision'] };
      } else if ('end' in record) whole = record['end'] === entries.length;
      else
        entries.push({
          ...(record as unknown as AgentEntry),
          // absent in the file of an older release
          createdOrder: Number(record['createdOrder'] ?? 0),
          profile: (record['profile'] ?? '') as string,
          ips: (record['ips'] ?? []) as readonly string[],
          federatesWith: (record['federatesWith'] ?? []) as readonly string[],
          placeholders: new Map(record['placeholders'] as [string, string[]][]),
        });
    }
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
  return position !== undefined && whole ? { position, entries } : undefined;
}
