import { makeDirectory } from '../common/unix/make-directory.ts';
import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  AuditLog,
  CheckpointFile,
  checkStoredLog,
  logOrigin,
  openInEpoch,
  staleError,
  type StoredLog,
} from '../audit/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { Logger } from '../common/runtime/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { ecdsaNoteKey, type NoteKey } from '../common/tlog/index.ts';
import { databasePath, type ServerConfig } from '../config/index.ts';
import type { Authority } from '../domain/index.ts';
import type { Signers } from '../hsm/index.ts';
import type { Checkpoints } from '../services/sync/checkpoints.ts';
import type { Ledger } from '../ledger/index.ts';
import { recordAcceptedLoss } from './accepted-loss.ts';
import type { ServerContext } from './context.ts';

export interface AuditLogDependencies {
  readonly context: Pick<
    ServerContext,
    'config' | 'trustDomain' | 'clock' | 'logger' | 'acceptRestore' | 'uid'
  >;
  readonly store: Ledger;
  readonly signers: Pick<Signers, 'sign' | 'useKey'>;
}

const checkpointFilePath = ({ dataDir, audit }: ServerConfig): string =>
  audit.checkpointFile ?? join(dataDir, 'checkpoints.log');

const logStates = ['published', 'active', 'old'] as const;

/**
 * The authority whose key signs the log. It is the one that signed its newest checkpoint, whatever
 * its state; for a log without a checkpoint, the active one. The row alone proves nothing: the
 * caller then asks the token for the key.
 */
async function logAuthority(
  { authorities, log }: Pick<Ledger, 'authorities' | 'log'>,
  trustDomain: TrustDomain,
): Promise<Authority | undefined> {
  const all = (await authorities.rows({ kind: 'log', states: logStates })).filter(
    ({ spkiDer }) => spkiDer !== null,
  );
  const newest = await log.latestCheckpoint();
  const active = all.findLast(({ state }) => state === 'active');
  if (newest === undefined) return active;
  return (
    all.find(
      ({ spkiDer }) =>
        openInEpoch(newest.note, ecdsaNoteKey(logOrigin(trustDomain), spkiDer as Buffer)) !==
        undefined,
    ) ?? active
  );
}

/** Further authorities of the log, whose checkpoints count as well. */
const otherLogAuthorities = async (
  { authorities }: Pick<Ledger, 'authorities'>,
  signer: Authority,
): Promise<readonly Authority[]> =>
  (await authorities.rows({ kind: 'log', states: logStates })).filter(
    ({ id, spkiDer }) => id !== signer.id && spkiDer !== null,
  );

/**
 * Checks the stored log against its newest checkpoint and the checkpoint file. The keys come from
 * the database: a checkpoint with a further key can only show that the database is older. Undefined
 * if there is no log yet.
 *
 * @throws PkiError AUDIT_INVALID, TREE_TRUNCATED
 */
export async function checkLog(
  config: ServerConfig,
  store: Pick<Ledger, 'authorities' | 'log'>,
): Promise<StoredLog | undefined> {
  const trustDomain = TrustDomain.of(config.trustDomain);
  const authority = await logAuthority(store, trustDomain);
  if (authority === undefined || authority.spkiDer === null) return undefined;
  const [key, ...otherKeys] = [authority, ...(await otherLogAuthorities(store, authority))].map(
    ({ spkiDer }) => ecdsaNoteKey(logOrigin(trustDomain), spkiDer as Buffer),
  ) as [NoteKey, ...NoteKey[]];
  return checkStoredLog(
    store.log,
    key,
    await new CheckpointFile(checkpointFilePath(config)).outside(key, ...otherKeys),
  );
}

/**
 * Whether the log says that the database was restored once. The checkpoint over that record is
 * verified before anything rests on the database.
 */
export async function wasRestored(store: Pick<Ledger, 'log'>): Promise<boolean> {
  const newest = await store.log.latestCheckpoint();
  return /\/meshca\/audit\/[1-9][0-9]*$/.test(newest?.note.split('\n')[0] ?? '');
}

/**
 * Whether the database is older than a checkpoint outside of it. This runs before the token is
 * examined: an older database lacks keys that are in the token, and the operator must read that the
 * database is older, not that keys are unknown. The key for this check comes from the database, so
 * that the result is provisional. The same check with the token's key follows.
 */
export async function isOlderAtStart(
  { config, acceptRestore }: Pick<ServerContext, 'config' | 'acceptRestore'>,
  store: Ledger,
): Promise<boolean> {
  const checked = await checkLog(config, store);
  if (checked === undefined) return false;
  const { size, newer } = checked;
  // with the acceptance of another loss than the present one, the server must not start
  if (newer !== undefined && acceptRestore !== undefined && acceptRestore !== newer.size)
    throw staleError(newer, size);
  return newer !== undefined;
}

/**
 * Checks the stored log and begins to sequence.
 *
 * @throws the errors that must prevent a start
 */
export async function startAuditLog({
  context,
  store,
  signers,
}: AuditLogDependencies): Promise<AuditLog> {
  const { config, trustDomain, clock, logger, acceptRestore } = context;
  const authority = await logAuthority(store, trustDomain);
  if (authority === undefined)
    throw new PkiError('HSM_KEY_NOT_FOUND', 'the database has no key for the audit log', {
      grade: 'fatal',
    });
  const checkpointFile = checkpointFilePath(config);
  makeDirectory(dirname(checkpointFile), 0o700);
  if (realpathSync(dirname(checkpointFile)) === realpathSync(dirname(databasePath(config))))
    logger.warn(
      { path: checkpointFile },
      'the checkpoint file lies beside the database: whoever puts both back together is ' +
        'noticed only by agents and witnesses; set audit.checkpointFile to a path on another ' +
        'disk or machine',
    );
  const log = await AuditLog.open({
    log: store.log,
    leases: store.leases,
    signers,
    authority,
    others: await otherLogAuthorities(store, authority),
    proven: (other) => store.objects.prove('authority', other) !== undefined,
    trustDomain,
    checkpointFile,
    clock,
    logger: logger.child({ part: 'audit' }),
    restored: (lost, sequence, actor) =>
      recordAcceptedLoss({ context, store }, { lost, keptRecords: sequence, actor }),
  });
  try {
    if (log.stale !== undefined && acceptRestore !== undefined)
      await log.accept(acceptRestore, `uid:${context.uid}`);
  } catch (thrown) {
    await log.close();
    throw thrown;
  }
  return log;
}

export const agentCheckpoints = (log: AuditLog, logger: Logger): Checkpoints => ({
  latest: () => log.latest?.note,
  onCheckpoint: (listener) => log.onCheckpoint(listener),
  seen: async (note, agentId) => {
    const verdict = await log.seen(note, agentId);
    if (verdict === 'unknown')
      logger.warn(
        { agentId },
        'an agent holds a checkpoint that the key of this log did not sign; it means nothing here',
      );
  },
});
