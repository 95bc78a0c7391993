export { AuditLog, type AuditLogDependencies } from './audit-log.ts';
export { logOrigin } from './log-authorities.ts';
export { Witness } from './witness.ts';
export { withTiles } from '../ledger/index.ts';
export { CheckpointFile, openInEpoch } from './checkpoint-file.ts';
export {
  checkStoredLog,
  staleError,
  type OutsideCheckpoint,
  type StoredLog,
  type Staleness,
} from './start-check.ts';
