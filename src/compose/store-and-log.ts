import { makeDirectory } from '../common/unix/make-directory.ts';
import { dirname } from 'node:path';
import type { AuditLog } from '../audit/index.ts';
import { PkiError } from '../common/errors/index.ts';
import { databasePath } from '../config/index.ts';
import type { TokenRole } from '../domain/index.ts';
import { standingText, type TokenAdmin } from '../hsm/index.ts';
import {
  bootstrapAuthorities,
  createRecordedIssuance,
  type IssuancePolicy,
  type RecordedIssuance,
} from '../issuance/index.ts';
import { openLedger, type Ledger } from '../ledger/index.ts';
import { openSqliteStore } from '../store/index.ts';
import { newestRecord } from '../store/newest-record.ts';
import type { ServerContext } from './context.ts';
import { openDeciders, type Deciders } from './issuance-policy.ts';
import { isOlderAtStart, startAuditLog, wasRestored } from './log.ts';
import { authorityPlans, crlUrlOf } from './settings.ts';
import type { TokenStage } from './tokens.ts';
import { startWitnesses } from './witnesses.ts';
import { errorFields } from '../common/runtime/index.ts';

/** The second stage: the database, and the log that tells whether the database is trusted. */
export interface RecordStage extends AsyncDisposable, Deciders {
  /** Its leases are given only while the signing gate is open. */
  readonly store: Ledger;
  /** The one way to a certificate. */
  readonly recorded: RecordedIssuance;
  readonly log: AuditLog;
  /** Of the newest record before this process wrote any; undefined: there was none. */
  readonly lastRecordedMs: number | undefined;
  /** When the last process was alive, as far as anything tells; undefined: there was none. */
  readonly lastAliveMs: number | undefined;
  /**
   * SHA-256 of the public keys of authorities that have no certificate yet. Bootstrap and the
   * sources of authorities add to it.
   */
  readonly requestedKeys: Set<string>;
}

/** Errors of a token that does not answer. A token with a wrong answer prevents the start. */
const tokenAbsent: ReadonlySet<string> = new Set([
  'HSM_UNAVAILABLE',
  'HSM_TOKEN_NOT_FOUND',
  'HSM_MODULE_MISSING',
  'HSM_FAILED',
]);

/**
 * Opens the database, makes the first authorities unless the database is stale, starts the signers,
 * and opens the log, which judges the gate from then on.
 */
export async function openStoreAndLog(
  context: ServerContext,
  tokens: TokenStage,
): Promise<RecordStage> {
  const { config, clock, readiness, metrics } = context;
  const { gate } = tokens;
  const { openToken } = gate;
  await using stack = new AsyncDisposableStack();
  makeDirectory(config.dataDir, 0o700);
  const store = await openStore(context);
  stack.defer(() => store.close());
  alertOfMismatches(context, store);
  const lastSigns = await lastSignsOfLife(store);
  await store.meta.claim(context.trustDomain.name, clock.now());
  await requireNoneMissing(store);

  const recorded = recordedIssuance(store, clock);
  const { parts, readTenants } = stack.use(await openDeciders(context, store));
  const requestedKeys = new Set<string>();
  const bootstrap = (): Promise<void> =>
    makeAuthorities(context, { store, recorded, ...parts, openToken, requestedKeys });
  const standsBy = await hasStandby(context, store);
  const log = await announcingAuthorities(store, async () => {
    // if the database is stale, generate no keys: the authorities that it lists may be outdated
    if (!(await isOlderAtStart(context, store)) || context.acceptRestore !== undefined)
      await gate.beforeJudgement(() =>
        standsBy ? withoutIssuingToken(context, bootstrap) : bootstrap(),
      );
    stack.use(await tokens.startSigners({ standsBy }));
    readiness.add(() => standingText(gate.signers.state(), gate.signers.primaryToken()));
    return startAuditLog({ context, store, signers: gate.logSigners });
  });
  stack.defer(async () => {
    await log.close();
    gate.shut();
  });
  gate.judgedBy(log);
  gate.onReopen(bootstrap);
  readiness.add(() => gate.reason() ?? lateReason(log));
  readiness.add(() => store.failure()?.message ?? failingReason(store));
  await Promise.all([abandonUnfinished(store, context), readTenants()]);

  stack.defer(store.onCommit((commit) => metrics.committed(commit)));
  metrics.watchLog(log);
  const witnesses = startWitnesses(context, store, log, gate);
  stack.defer(async () => void (await Promise.all(witnesses.map((witness) => witness.close()))));
  if (witnesses.length > 0) metrics.watchWitnesses(witnesses);
  stack.defer(store.objects.onMismatch(({ kind }) => metrics.notInLog(kind)));

  const owned = stack.move();
  return {
    store: { ...store, leases: gate.leases(store.leases) },
    recorded,
    ...parts,
    log,
    ...lastSigns,
    requestedKeys,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** From the first read on: a start that rests on an altered row may fail before the log is open. */
function alertOfMismatches({ logger }: ServerContext, { objects }: Ledger): void {
  objects.onMismatch((mismatch) =>
    logger.error(
      { ...mismatch, code: 'OBJECT_NOT_IN_LOG', alert: true },
      'an object in the database differs from the audit log',
    ),
  );
}

/**
 * No row of an authority is ever deleted. An authority that the log has and the database lacks was
 * taken away, and the start would make another one in its place.
 *
 * @throws PkiError OBJECT_NOT_IN_LOG (fatal)
 */
async function requireNoneMissing({ authorities, objects }: Ledger): Promise<void> {
  let missing: string | undefined;
  const rows = await authorities.rows();
  const stop = objects.onMismatch(({ id }) => (missing ??= id));
  objects.announceMissing('authority', rows);
  stop();
  if (missing === undefined) return;
  throw new PkiError(
    'OBJECT_NOT_IN_LOG',
    `the audit log has the authority ${missing}, and the database has no row of it`,
    { grade: 'fatal', detail: { kind: 'authority', id: missing } },
  );
}

/**
 * Does the work of a start. If it fails, each authority that differs from the log is announced:
 * that may be the cause. Only then, since after a crash the newest records count once the log is
 * open.
 */
async function announcingAuthorities<T>(
  { authorities, objects }: Ledger,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    for (const authority of await authorities.rows()) objects.prove('authority', authority);
    throw thrown;
  }
}

async function openStore({ config, clock, logger, pid, faults }: ServerContext): Promise<Ledger> {
  const path = databasePath(config);
  makeDirectory(dirname(path), 0o700);
  const { synchronous, withoutLog, onDurable, onStore } = faults;
  const store = await openLedger({
    engine: (memory) =>
      openSqliteStore({
        path,
        clock,
        logger,
        pid,
        memory,
        ...(synchronous === undefined ? {} : { synchronous, faultDrill: true }),
        ...(withoutLog ? { withoutLog, faultDrill: true } : {}),
        ...(onDurable === undefined ? {} : { onDurable }),
      }),
    clock,
    logger,
    unchecked: withoutLog,
  });
  onStore?.(store);
  return store;
}

/**
 * Of the last process. The server puts the pair of its clocks on record each hour, also while
 * nothing happens.
 */
async function lastSignsOfLife({
  audit,
  rotations,
}: Ledger): Promise<Pick<RecordStage, 'lastRecordedMs' | 'lastAliveMs'>> {
  const newest = await newestRecord(audit);
  if (newest === undefined) return { lastRecordedMs: undefined, lastAliveMs: undefined };
  return {
    lastRecordedMs: newest.timeMs,
    lastAliveMs: Math.max(newest.timeMs, rotations.clock()?.wallMs ?? 0),
  };
}

/** Intents from before the last stop are never signed later. */
async function abandonUnfinished(store: Ledger, { clock, logger }: ServerContext): Promise<void> {
  const abandoned = await store.issuance.abandonIntents('SERVER_RESTART', clock.nowMs());
  if (abandoned.length > 0)
    logger.warn(
      { count: abandoned.length },
      'certificates were being signed when the server last stopped; they are recorded as abandoned',
    );
}

/**
 * Whether the server can start without the issuing token: there is a standby key of the log, or an
 * issuing authority in the standby token signs.
 */
async function hasStandby({ config }: ServerContext, store: Ledger): Promise<boolean> {
  if (config.hsm.standby === undefined) return false;
  const all = await store.authorities.rows({ states: ['published', 'active', 'old'] });
  return all.some(
    ({ kind, token, state }) =>
      token === 'standby' && (kind === 'log' || (kind === 'issuing' && state === 'active')),
  );
}

/** Why records without a checkpoint make the server not ready; otherwise undefined. */
const lateReason = ({ late, signer }: AuditLog): string | undefined =>
  late
    ? `AUDIT_LATE: records of the audit log have no checkpoint for minutes; its key is in the ${signer.token} token`
    : undefined;

/** A server that can not commit releases nothing. A short failure does not make it unready. */
const unreadyAfterSeconds = 10;

function failingReason(store: Ledger): string | undefined {
  const failing = store.failing();
  return failing === undefined || failing.seconds < unreadyAfterSeconds
    ? undefined
    : `STORE_FAILED: for ${Math.floor(failing.seconds)} s nothing could be committed: ${failing.error.message}`;
}

/** Does the work. An issuing token that does not answer does not prevent the start. */
async function withoutIssuingToken(
  { logger }: ServerContext,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    const { code } = PkiError.from(thrown);
    if (!tokenAbsent.has(code)) throw thrown;
    logger.error(
      { ...errorFields(thrown), alert: true },
      'the issuing token does not answer: the server starts with the standby token',
    );
  }
}

/** Makes the authorities of a first start, and finishes those that a crash interrupted. */
async function makeAuthorities(
  { config, trustDomain, clock, random, logger, faults, acceptRestore }: ServerContext,
  {
    store,
    recorded,
    issuancePolicy,
    openToken,
    requestedKeys,
  }: {
    readonly store: Ledger;
    readonly recorded: RecordedIssuance;
    readonly issuancePolicy: IssuancePolicy;
    readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
    readonly requestedKeys: Set<string>;
  },
): Promise<void> {
  const { authorities } = config;
  await bootstrapAuthorities({
    tolerateUnknownKeys: acceptRestore !== undefined || (await wasRestored(store)),
    requestedKeys,
    // before the log is open, the newest records of a crash do not count yet
    authorities: { ...store.authorities, list: (filter) => store.authorities.rows(filter) },
    requireProven: async () => {
      for (const row of await store.authorities.rows()) store.objects.require('authority', row);
    },
    audit: store.audit,
    recorded,
    issuancePolicy,
    openToken,
    ownRoot: authorities.source === 'hsm',
    names: config.names.enabled,
    trustDomain,
    plans: authorityPlans(config),
    clockSkewSeconds: authorities.clockSkewSeconds,
    crlUrl: crlUrlOf(config),
    clock,
    random,
    logger,
    progress: (text) => logger.info({}, text),
    step: faults.step,
  });
}

const recordedIssuance = (
  { issuance, quotas, blockedKeys }: Pick<Ledger, 'issuance' | 'quotas' | 'blockedKeys'>,
  clock: ServerContext['clock'],
): RecordedIssuance => createRecordedIssuance({ store: issuance, quotas, blockedKeys, clock });
