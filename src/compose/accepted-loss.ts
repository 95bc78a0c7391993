import type { AuditLog, OutsideCheckpoint } from '../audit/index.ts';
import { databasePath, type ServerConfig } from '../config/index.ts';
import type { RestoreFacts } from '../services/inspection/restore-service.ts';
import type { Ledger } from '../ledger/index.ts';
import { readReplaced, type LostRecord } from '../store/index.ts';
import type { ServerContext } from './context.ts';
import type { SigningGate } from './signing-gate.ts';

export interface AcceptedLossDependencies {
  readonly context: Pick<ServerContext, 'config' | 'clock' | 'logger'>;
  readonly store: Ledger;
}

export interface AcceptedLoss {
  /** The newest checkpoint outside the database. */
  readonly lost: OutsideCheckpoint;
  /** The last record that was in the tree when this process started. */
  readonly keptRecords: number;
  /** The operator who accepts. */
  readonly actor: string;
}

/** Facts about a stale database for administration, and the acceptance of its loss. */
export const restoreFacts = (
  config: ServerConfig,
  log: AuditLog,
  gate: SigningGate,
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
    await gate.reopened();
  },
});

/**
 * Handles a loss that an operator has accepted: a new epoch, a record of the acceptance, and the
 * lost bans and revocations again, if the replaced database still proves them.
 */
export async function recordAcceptedLoss(
  { context: { config, clock, logger }, store }: AcceptedLossDependencies,
  { lost, keptRecords, actor }: AcceptedLoss,
): Promise<void> {
  const replaced = readReplaced(`${databasePath(config)}.replaced`, databasePath(config), lost);
  const proven = replaced?.proven === true ? replaced.lost : [];
  const bans = bannedAtTheEnd(proven);
  const revocations = proven.flatMap(({ revocation }) =>
    revocation === undefined ? [] : [revocation],
  );
  await store.meta.renewEpoch(clock.now());
  const event = { timeMs: clock.nowMs(), actor };
  await store.audit.append([
    {
      ...event,
      kind: 'database.restored',
      subject: 'database',
      detail: {
        lostSize: lost.size,
        lostRoot: lost.root.toString('base64'),
        keptRecords,
        replacedDatabase:
          replaced === undefined ? 'absent' : replaced.proven ? 'proven' : 'unproven',
        bansAgain: bans,
        revokedAgain: revocations.length,
      },
    },
  ]);
  await banAgain(store, bans, event);
  for (const revocation of revocations) {
    await store.revocations.revokeAgain(revocation, {
      ...event,
      kind: 'certificate.revoked',
      subject: revocation.serial,
      detail: { cause: 'revoked before the restore' },
    });
  }
  logger.warn(
    { lostSize: lost.size, keptRecords, bansAgain: bans, revokedAgain: revocations.length },
    'the database was restored from a backup and its loss was accepted',
  );
}

async function banAgain(
  { agents }: Pick<Ledger, 'agents'>,
  spiffeIds: readonly string[],
  event: { readonly timeMs: number; readonly actor: string },
): Promise<void> {
  const reason = 'banned before the restore';
  for (const spiffeId of spiffeIds) {
    if ((await agents.byId(spiffeId)) === undefined) continue;
    await agents.setState(spiffeId, 'banned', reason, {
      ...event,
      kind: 'agent.banned',
      subject: spiffeId,
      detail: { reason },
    });
  }
}

function bannedAtTheEnd(lost: readonly LostRecord[]): readonly string[] {
  const banned = new Set<string>();
  for (const { kind, subject } of lost) {
    if (kind === 'agent.banned') banned.add(subject);
    else if (kind === 'agent.evicted') banned.delete(subject);
  }
  return [...banned];
}
