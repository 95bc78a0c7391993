export { AuditLog, logOrigin, type AuditLogDependencies } from './audit-log.ts';
export { withTiles } from './tiles.ts';
