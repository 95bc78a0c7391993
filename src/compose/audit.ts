import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  AuditLog,
  CheckpointFile,
  checkStoredLog,
  logOrigin,
  openInEpoch,
  staleError,
  Witness,
  type OutsideCheckpoint,
  type StoredLog,
} from '../audit/index.ts';
import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Checkpoints } from '../services/sync-checkpoints.ts';
import type { RestoreFacts } from '../services/restore.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { ecdsaNoteKey, parseVerifierKey, type NoteKey } from '../common/tlog/index.ts';
import { databasePath, type ServerConfig } from '../config/index.ts';
import type { Authority } from '../domain/index.ts';
import type { AuthorityPlan } from '../issuance/index.ts';
import type { Signers } from '../hsm/contract.ts';
import type { StoredCheckpoint } from '../store/ports/index.ts';
import { readReplaced, type LostRecord, type Store } from '../store/index.ts';

export interface AuditLogParts {
  readonly config: ServerConfig;
  readonly store: Store;
  readonly signers: Pick<Signers, 'sign' | 'useKey'>;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly acceptRestore: number | undefined;
  /** Who accepts. */
  readonly actor: string;
}

/**
 * P-256 whatever else is configured: C2SP signed-note has no other type that a token can sign. Its
 * key does not expire: old checkpoints stay checkable.
 */
export const logPlan: AuthorityPlan = { keyType: 'ec-p256', lifeSeconds: 36_500 * 86_400 };

export const checkpointFilePath = ({ dataDir, audit }: ServerConfig): string =>
  audit.checkpointFile ?? join(dataDir, 'checkpoints.log');

const logStates = ['published', 'active', 'old'] as const;

/**
 * The authority whose key signs the log: the one that signed its newest checkpoint, whatever its
 * state says, or the active one of a log without a checkpoint. Its token is asked for the key
 * afterwards: the row alone proves nothing.
 */
export async function logAuthority(
  { authorities, log }: Pick<Store, 'authorities' | 'log'>,
  trustDomain: TrustDomain,
): Promise<Authority | undefined> {
  const all = (await authorities.list({ kind: 'log', states: logStates })).filter(
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
  { authorities }: Pick<Store, 'authorities'>,
  signer: Authority,
): Promise<readonly Authority[]> =>
  (await authorities.list({ kind: 'log', states: logStates })).filter(
    ({ id, spkiDer }) => id !== signer.id && spkiDer !== null,
  );

/**
 * The log that is stored, against its newest checkpoint and the checkpoint file. The keys are taken
 * from the database: a checkpoint under a further key can only show that the database is older.
 * Undefined: there is no log yet.
 * @throws PkiError AUDIT_INVALID, TREE_TRUNCATED
 */
export async function checkLog(
  config: ServerConfig,
  store: Pick<Store, 'authorities' | 'log'>,
): Promise<StoredLog | undefined> {
  const trustDomain = TrustDomain.of(config.trustDomain);
  const authority = await logAuthority(store, trustDomain);
  if (authority === undefined || authority.spkiDer === null) return undefined;
  const [key, ...others] = [authority, ...(await otherLogAuthorities(store, authority))].map(
    ({ spkiDer }) => ecdsaNoteKey(logOrigin(trustDomain), spkiDer as Buffer),
  ) as [NoteKey, ...NoteKey[]];
  return checkStoredLog(
    store.log,
    key,
    await new CheckpointFile(checkpointFilePath(config)).outside(key, ...others),
  );
}

/**
 * Whether the log says that it went on after a restore; its checkpoint is verified before anything
 * rests on the database.
 */
export async function wasRestored(store: Pick<Store, 'log'>): Promise<boolean> {
  const newest = await store.log.latestCheckpoint();
  return /\/meshca\/audit\/[1-9][0-9]*$/.test(newest?.note.split('\n')[0] ?? '');
}

/**
 * Before the token is looked at: an older database lacks keys that are in the token, and what is to
 * be said then is that it is older. The key is taken from the database here, so that this settles
 * nothing; the same check with the token follows. Returns whether it is older than a checkpoint
 * outside of it.
 */
export async function checkLogAtStart(
  { config, acceptRestore }: { readonly config: ServerConfig; readonly acceptRestore?: number },
  store: Store,
): Promise<boolean> {
  const checked = await checkLog(config, store);
  if (checked === undefined) return false;
  const { size, newer } = checked;
  // who accepts something else than is there is not to find himself with a running server
  if (newer !== undefined && acceptRestore !== undefined && acceptRestore !== newer.size)
    throw staleError(newer, size);
  return newer !== undefined;
}

/**
 * Checks the log that is stored and begins to sequence; throws what must keep the server from
 * starting.
 */
export async function startAuditLog(parts: AuditLogParts): Promise<AuditLog> {
  const { config, store, signers, trustDomain, clock, logger } = parts;
  store.objects.onMismatch((mismatch) =>
    logger.error(
      { ...mismatch, code: 'OBJECT_NOT_IN_LOG', alert: true },
      'an object in the database is not as the audit log has it',
    ),
  );
  const authority = await logAuthority(store, trustDomain);
  if (authority === undefined)
    throw new PkiError('HSM_KEY_NOT_FOUND', 'the database names no key for the audit log', {
      grade: 'fatal',
    });
  const checkpointFile = checkpointFilePath(config);
  mkdirSync(dirname(checkpointFile), { recursive: true, mode: 0o700 });
  const log = await AuditLog.open({
    log: store.log,
    leases: store.leases,
    signers,
    authority,
    others: (await otherLogAuthorities(store, authority)).filter((other) =>
      store.objects.proven(other),
    ),
    trustDomain,
    checkpointFile,
    clock,
    logger: logger.child({ part: 'audit' }),
    restored: (lost, sequence, by) => afterRestore(parts, lost, sequence, by),
  });
  try {
    if (log.stale !== undefined && parts.acceptRestore !== undefined)
      await log.accept(parts.acceptRestore, parts.actor);
  } catch (thrown) {
    await log.close();
    throw thrown;
  }
  return log;
}

/** Starts to submit checkpoints to the configured witnesses. */
export function startWitnesses(
  config: ServerConfig,
  store: Pick<Store, 'log'>,
  log: AuditLog,
  clock: Clock,
  logger: Logger,
): readonly Witness[] {
  const witnesses = config.audit.witnesses.map(
    ({ url, key }) =>
      new Witness({
        url: url.replace(/\/+$/, ''),
        key: unwrap(parseVerifierKey(key)),
        log: store.log,
        fetch,
        clock,
        logger: logger.child({ part: 'witness' }),
      }),
  );
  const submit = (checkpoint: StoredCheckpoint): void => {
    for (const witness of witnesses) witness.submit(checkpoint);
  };
  if (log.latest !== undefined && log.stale === undefined) submit(log.latest);
  if (witnesses.length > 0) log.onCheckpoint(submit);
  return witnesses;
}

/**
 * What administration is told of a stale database. `accepted`: what a server does that may sign
 * again.
 */
export const restoreFacts = (
  config: ServerConfig,
  log: AuditLog,
  accepted: () => Promise<void>,
): RestoreFacts => ({
  stale: () =>
    log.stale === undefined
      ? undefined
      : { size: log.stale.size, expected: log.stale.newer.size, foundBy: log.stale.foundBy },
  lost: () => {
    const { stale } = log;
    const replaced =
      stale === undefined
        ? undefined
        : readReplaced(`${databasePath(config)}.replaced`, databasePath(config), stale.newer);
    return { proven: replaced?.proven ?? false, lost: replaced?.lost ?? [] };
  },
  accept: async (size, actor) => {
    await log.accept(size, actor);
    await accepted();
  },
});

export const agentCheckpoints = (log: AuditLog, logger: Logger): Checkpoints => ({
  latest: () => log.latest?.note,
  onCheckpoint: (listener) => log.onCheckpoint(listener),
  seen: async (note, agentId) => {
    const found = await log.seen(note, agentId);
    if (found === 'unknown')
      logger.warn(
        { agentId },
        'an agent holds a checkpoint that the key of this log did not sign; it means nothing here',
      );
  },
});

/**
 * A new epoch, the acceptance on record, and the bans and revocations of the lost time again, where
 * the database that was replaced still proves them.
 */
async function afterRestore(
  { config, store, clock, logger }: AuditLogParts,
  lost: OutsideCheckpoint,
  sequence: number,
  actor: string,
): Promise<void> {
  const replaced = readReplaced(`${databasePath(config)}.replaced`, databasePath(config), lost);
  const proven = replaced?.proven === true ? replaced.lost : [];
  const bans = bannedAtTheEnd(proven);
  const revocations = proven.flatMap(({ revocation }) =>
    revocation === undefined ? [] : [revocation],
  );
  await store.meta.renewEpoch(clock.now());
  await store.audit.append([
    {
      timeMs: clock.nowMs(),
      actor,
      kind: 'database.restored',
      subject: 'database',
      detail: {
        lostSize: lost.size,
        lostRoot: lost.root.toString('base64'),
        keptRecords: sequence,
        replacedDatabase:
          replaced === undefined ? 'absent' : replaced.proven ? 'proven' : 'unproven',
        bansAgain: bans,
        revokedAgain: revocations.length,
      },
    },
  ]);
  for (const spiffeId of bans) {
    if ((await store.agents.byId(spiffeId)) === undefined) continue;
    await store.agents.setState(spiffeId, 'banned', 'banned before the restore', {
      timeMs: clock.nowMs(),
      actor,
      kind: 'agent.banned',
      subject: spiffeId,
      detail: { reason: 'banned before the restore' },
    });
  }
  for (const revocation of revocations) {
    await store.revocations.revokeAgain(revocation, {
      timeMs: clock.nowMs(),
      actor,
      kind: 'certificate.revoked',
      subject: revocation.serial,
      detail: { cause: 'revoked before the restore' },
    });
  }
  logger.warn(
    {
      lostSize: lost.size,
      keptRecords: sequence,
      bansAgain: bans,
      revokedAgain: revocations.length,
    },
    'the database was restored from a backup and its loss was accepted',
  );
}

function bannedAtTheEnd(lost: readonly LostRecord[]): readonly string[] {
  const banned = new Set<string>();
  for (const { kind, subject } of lost) {
    if (kind === 'agent.banned') banned.add(subject);
    else if (kind === 'agent.evicted') banned.delete(subject);
  }
  return [...banned];
}
