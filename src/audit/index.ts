export { AuditLog, logOrigin, type AuditLogDependencies } from './audit-log.ts';
export { withTiles } from './tiles.ts';
export { CheckpointFile } from './checkpoint-file.ts';
export { checkStoredLog, type OutsideCheckpoint } from './start-check.ts';
