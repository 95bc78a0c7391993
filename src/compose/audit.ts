import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AuditLog } from '../audit/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import type { ServerConfig } from '../config/index.ts';
import type { AuthorityPlan } from '../issuance/index.ts';
import type { Signers } from '../hsm/contract.ts';
import type { Store } from '../store/index.ts';

export interface AuditLogParts {
  readonly config: ServerConfig;
  readonly store: Store;
  readonly signers: Pick<Signers, 'sign' | 'useKey'>;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** P-256 whatever else is configured: C2SP signed-note has no other type that a token can sign. Its key does not expire: old checkpoints stay checkable. */
export const logPlan: AuthorityPlan = { keyType: 'ec-p256', lifeSeconds: 36_500 * 86_400 };

export const checkpointFilePath = ({ dataDir, audit }: ServerConfig): string => audit.checkpointFile ?? join(dataDir, 'checkpoints.log');

/** Checks the log that is stored and begins to sequence; throws what must keep the server from starting. */
export async function startAuditLog({ config, store, signers, trustDomain, clock, logger }: AuditLogParts): Promise<AuditLog> {
  store.objects.onMismatch((mismatch) => logger.error({ ...mismatch, code: 'OBJECT_NOT_IN_LOG', alert: true }, 'an object in the database is not as the audit log has it'));
  const [authority] = (await store.authorities.list({ kind: 'log', states: ['active'] })).slice(-1);
  if (authority === undefined) throw new PkiError('HSM_KEY_NOT_FOUND', 'the database names no key for the audit log', { grade: 'fatal' });
  const checkpointFile = checkpointFilePath(config);
  mkdirSync(dirname(checkpointFile), { recursive: true, mode: 0o700 });
  return AuditLog.open({ log: store.log, leases: store.leases, signers, authority, trustDomain, checkpointFile, clock, logger: logger.child({ part: 'audit' }) });
}
