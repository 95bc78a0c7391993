import { SyncedEntryCache } from '../cache/index.ts';
import { loadEntries } from '../state/index.ts';
import { EntriesReceiver } from '../sync/index.ts';
import { EntriesKeeper } from './entries-keeper.ts';
import type { AgentEnvironment } from './environment.ts';
import type { TrustStage } from './trust.ts';

/** Second stage: the entries, which say what this agent may hand out. */
export interface EntriesStage extends AsyncDisposable {
  readonly cache: SyncedEntryCache;
  readonly receiver: EntriesReceiver;
  readonly keeper: EntriesKeeper;
  /** Whether there were entries in the state directory. */
  readonly restored: boolean;
}

export async function openEntries(
  { config, logger, clock }: AgentEnvironment,
  { trustDomain, identity, writes }: TrustStage,
): Promise<EntriesStage> {
  const directory = config.dataDir;
  const cache = new SyncedEntryCache({
    trustDomain,
    clock,
    logger: logger.child({ part: 'entries' }),
  });
  const agentId = identity.spiffeId?.toString();
  const kept = agentId === undefined ? undefined : await loadEntries(directory, agentId);
  if (kept !== undefined) cache.applySnapshot(kept.entries);
  const receiver = new EntriesReceiver(
    cache,
    agentId === undefined || kept === undefined ? undefined : { agentId, position: kept.position },
  );
  const keeper = new EntriesKeeper({ directory, writes, cache, receiver, clock });
  return {
    cache,
    receiver,
    keeper,
    restored: kept !== undefined,
    async [Symbol.asyncDispose]() {
      await keeper.flush();
      cache.close();
    },
  };
}
