import { closeSync, existsSync, openSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import { notPermitted, permissionError } from '../../common/unix/path-permission.ts';
import type { LogGuard, LogMemory, Store } from '../ports/index.ts';
import { createAcme } from './acme.ts';
import { createAgentLines } from './agent-lines.ts';
import { createAgents } from './agents.ts';
import { createApprovals } from './approvals.ts';
import { createAudit, type AuditWriter } from './audit.ts';
import { createAuthorities } from './authorities.ts';
import { createBlockedKeys } from './blocked-keys.ts';
import { createBundles } from './bundles.ts';
import { createCertificateScan } from './certificate-scan.ts';
import { createCertificates } from './certificates.ts';
import { Checkpoints } from './checkpoints.ts';
import { createDelegations } from './delegations.ts';
import { Engine } from './engine.ts';
import { createEntries } from './entries.ts';
import { createFederation } from './federation.ts';
import { createEvidence } from './evidence.ts';
import { createIssuancePolicies } from './issuance-policies.ts';
import { createIssuance } from './issuance.ts';
import { createJoinTokens } from './join-tokens.ts';
import { createJwtSvids } from './jwt-svids.ts';
import { createLeases, type FenceCheck } from './leases.ts';
import { createLog } from './log.ts';
import { acquireLock, type DatabaseLock } from './lock.ts';
import { createMeta, type Revisions } from './meta.ts';
import { migrate } from './migrations.ts';
import { createOcsp } from './ocsp.ts';
import { createRetention } from './retention.ts';
import { createRotations } from './rotations.ts';
import { createRevocations } from './revocations.ts';
import { createRightsCheck } from './rights.ts';
import { createRoles } from './roles.ts';
import { backUp } from './backup.ts';
import { isAccessTrouble, storeError } from './sqlite-error.ts';
import { createTenants } from './tenants.ts';
import { createTokenUses } from './token-uses.ts';
import { openWal, type WalFile } from './wal.ts';
import { createTransactionGuard } from './transaction-guard.ts';
import { createTriggerGuard } from './trigger-guard.ts';

export interface SqliteStoreOptions {
  /** The database file; its folder must exist. `:memory:` for tests: no lock, nothing durable. */
  readonly path: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Written into the lock, so that other processes can name its holder. */
  readonly pid: number;
  /** What the log says: fed by this store, and asked by its writes. */
  readonly memory: LogMemory;
  /**
   * `OFF` breaks promise 2. It exists to show that the fault drill notices. Refused without
   * `faultDrill`.
   */
  readonly synchronous?: 'FULL' | 'OFF';
  readonly faultDrill?: boolean;
  /** No seals over records, to measure their cost. Refused without `faultDrill`. */
  readonly withoutLog?: boolean;
  /** Called right after each commit, before any caller is told. For the fault drill. */
  readonly onDurable?: () => void;
  /**
   * The number of removals of entries that are kept for agents that were away. Default: 100,000.
   */
  readonly removalLimit?: number;
}

/**
 * Opens, locks and migrates the database.
 *
 * @throws PkiError STORE_LOCKED, STORE_CORRUPT, STORE_TOO_NEW, STORE_FAILED
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  if (options.synchronous === 'OFF' && options.faultDrill !== true) {
    throw new PkiError(
      'CONFIG_INVALID',
      'synchronous OFF loses commits when the power fails; only the fault drill may use it',
    );
  }
  if (options.withoutLog === true && options.faultDrill !== true) {
    throw new PkiError(
      'CONFIG_INVALID',
      'without the log, anybody who writes to the database can mint identities; only a measurement may use it',
    );
  }
  const inMemory = options.path === ':memory:';
  const path = inMemory ? options.path : canonicalPath(options.path);
  const lock = inMemory
    ? undefined
    : acquireLock(`${path}.lock`, { pid: options.pid, now: options.clock.now() });
  let database: DatabaseSync | undefined;
  let wal: WalFile | undefined;
  try {
    // Only under the lock: closing a file by hand drops all POSIX locks of this process on that
    // file.
    if (!inMemory && !existsSync(path)) closeSync(openSync(path, 'wx', 0o600));
    // A wait for the write lock of another process blocks the thread, so that it must be short.
    database = new DatabaseSync(path, { timeout: 1000, enableForeignKeyConstraints: true });
    const synchronous = options.synchronous ?? 'FULL';
    configure(database, synchronous, inMemory);
    migrate(database, options.clock.now());
    // the file exists only from here on
    wal = inMemory || synchronous === 'OFF' ? undefined : openWal(`${path}-wal`, options.clock);
    return await assemble(database, options, lock, wal);
  } catch (error) {
    database?.close();
    wal?.close();
    lock?.release();
    // SQLite does not say what the operating system answered
    const denied = isAccessTrouble(error)
      ? (notPermitted(path, error) ?? notPermitted(dirname(path), error))
      : permissionError(error);
    if (denied !== undefined) throw denied;
    const failure = storeError(error);
    throw new PkiError(failure.code, `${path}: ${failure.message}`, {
      cause: error,
      next: failure.next,
      grade: failure.grade,
      detail: failure.detail,
    });
  }
}

/** Two names of one file share one lock. */
function canonicalPath(path: string): string {
  try {
    return existsSync(path)
      ? realpathSync(path)
      : join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw new PkiError(
      'STORE_FAILED',
      `the folder of ${path} can not be used: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

function configure(database: DatabaseSync, synchronous: 'FULL' | 'OFF', inMemory: boolean): void {
  database.enableDefensive(true);
  const { journal_mode: mode } = database.prepare('PRAGMA journal_mode = WAL').get() as {
    journal_mode: string;
  };
  if (mode !== 'wal' && !inMemory)
    throw new PkiError(
      'STORE_FAILED',
      `the file system does not allow write-ahead logging (journal mode ${mode})`,
    );
  // With NORMAL, a commit is written to the log file, and SQLite syncs it at checkpoints only. We
  // sync each commit ourselves (WalFile), so that the thread does not wait for a slow disk.
  database.exec(`PRAGMA synchronous = ${synchronous === 'FULL' ? 'NORMAL' : 'OFF'}`);
  // Without it, INSERT OR REPLACE would delete audit records past their trigger.
  database.exec('PRAGMA recursive_triggers = ON');
  database.exec('PRAGMA trusted_schema = OFF');
  database.exec('PRAGMA cell_size_check = ON');
  database.exec('PRAGMA temp_store = MEMORY');
  // 16 MiB of pages. After a split of pages, the commit looks at each page of the cache, which takes
  // 0.3 ms with 64 MiB. A page that is not there costs a hundredth of that: the system has it.
  database.exec('PRAGMA cache_size = -16384');
  // reached where no thread copies the log (Checkpoints), or it is behind
  database.exec('PRAGMA wal_autocheckpoint = 8000');
  database.exec('PRAGMA journal_size_limit = 67108864');
}

function openEngine(
  database: DatabaseSync,
  { clock, logger, onDurable }: SqliteStoreOptions,
  wal: WalFile | undefined,
): Engine {
  const engine = new Engine({ database, clock, logger, makeDurable: wal?.sync, onDurable });
  const refuseForeignTriggers = createTriggerGuard(database);
  refuseForeignTriggers();
  engine.beforeJob((first) => {
    if (first) refuseForeignTriggers();
  });
  return engine;
}

/** Begins to copy the write-ahead log. Returns how it ends. */
function copyLog(
  database: DatabaseSync,
  engine: Engine,
  { path, clock, logger }: SqliteStoreOptions,
): () => Promise<void> {
  const copyRest = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');
  const checkpoints = new Checkpoints({
    path: canonicalPath(path),
    clock,
    logger,
    copyRest: () => {
      try {
        copyRest.get();
      } catch {
        // the pass of the thread meets the same, and tells of it
      }
    },
  });
  engine.afterCommit(() => checkpoints.committed());
  return () => checkpoints.close();
}

async function assemble(
  database: DatabaseSync,
  options: SqliteStoreOptions,
  lock: DatabaseLock | undefined,
  wal: WalFile | undefined,
): Promise<Store> {
  const { memory, logger } = options;
  const engine = openEngine(database, options, wal);
  const { store: meta, revisions } = createMeta(engine, logger);
  // the database lock is ours, so that no other process holds a lease; fences are kept
  database.exec('UPDATE leases SET expires_at_ms = 0');
  const { store: leases, checkFence } = createLeases(engine);
  const log = createLog(engine, checkFence);
  const {
    store: audit,
    write,
    recorded,
    takenPlaces,
  } = createAudit(engine, {
    sealing: options.withoutLog === true ? () => {} : log.sealing,
    committed: (records) => memory.committed(records),
  });
  await memory.begin(log.store);
  const endCopying = wal === undefined ? undefined : copyLog(database, engine, options);
  const { flushSeen, ...nouns } = createNouns(engine, options, {
    audit: write,
    guard: createTransactionGuard(memory.guard, { recorded, takenPlaces }),
    checkFence,
    revisions,
  });
  let closed: Promise<void> | undefined;
  return {
    meta,
    audit,
    leases,
    log: log.store,
    ...nouns,
    onRevision: revisions.subscribe,
    backup: (target) => backUp(database, target),
    onCommit: (listener) => engine.onCommit(listener),
    failure: () => engine.failure,
    failing: () => engine.failing,
    close: () =>
      (closed ??= engine
        .close(flushSeen)
        .finally(endCopying)
        .finally(() => {
          wal?.close();
          lock?.release();
        })),
  };
}

interface NounDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly revisions: Revisions;
}

/** The stores of objects that the log commits to, and of certificates. */
function createNouns(
  engine: Engine,
  { clock, logger, removalLimit = 100_000 }: SqliteStoreOptions,
  dependencies: NounDependencies,
) {
  const { audit, guard, checkFence } = dependencies;
  const { store: certificates, countStates } = createCertificates(engine);
  const { store: tokens, bindResult } = createJoinTokens(engine, audit, guard);
  const { store: evidence, write: writeEvidence } = createEvidence(engine);
  const jwt = createJwtSvids(engine);
  const lines = createAgentLines(engine, audit, guard);
  const agents = createAgents(engine, {
    ...dependencies,
    clock,
    logger,
    lines,
    bindTokenResult: bindResult,
  });
  const { store: blockedKeys, isBlocked } = createBlockedKeys(engine, dependencies);
  const checkRights = createRightsCheck(engine, guard, { lines, isBlocked });
  return {
    certificates: { ...certificates, ...createCertificateScan(engine) },
    tokens,
    blockedKeys,
    tokenUses: createTokenUses(engine, dependencies),
    evidence,
    agents: agents.store,
    consumers: agents.consumers,
    flushSeen: agents.flushSeen,
    issuance: createIssuance(engine, { clock, audit, checkRights, countStates, jwt }),
    authorities: createAuthorities(engine, {
      ...dependencies,
      isBlocked,
      countStates,
      jwt,
      evidence: writeEvidence,
    }),
    rotations: createRotations(engine, dependencies),
    bundles: createBundles(engine, dependencies),
    entries: createEntries(engine, { ...dependencies, removalLimit }),
    delegations: createDelegations(engine, audit),
    federation: createFederation(engine, dependencies),
    roles: createRoles(engine, audit),
    tenants: createTenants(engine, { ...dependencies, removalLimit }),
    acme: createAcme(engine, { ...dependencies, checkRights, clock }),
    approvals: createApprovals(engine, audit, guard),
    issuancePolicies: createIssuancePolicies(engine, audit, guard),
    revocations: createRevocations(engine, dependencies),
    ocsp: createOcsp(engine),
    retention: createRetention(engine, checkFence, countStates),
  };
}
