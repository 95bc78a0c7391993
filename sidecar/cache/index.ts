export { SyncedEntryCache, type EntryCacheDependencies } from './entry-cache.ts';
