export { AgentState, type AgentCredential, type PendingRequest } from './agent-state.ts';
export { CheckpointKeeper } from './checkpoint-file.ts';
export { lockDirectory, type DirectoryLock } from './directory-lock.ts';
export { entriesFile, loadEntries, saveEntries, type SyncPosition } from './entries-file.ts';
export { readPrivateFile, replaceFile } from './files.ts';
export { holdingsFile, loadHoldings, saveHoldings } from './holdings-file.ts';
export { FileWorkloadKeyStore, type StoredSvid, type WorkloadKeyStore } from './workload-keys.ts';
export { LostState } from './lost-state.ts';
export { StateWrites, type Unkept } from './writes.ts';
