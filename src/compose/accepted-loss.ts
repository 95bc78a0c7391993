import type { AuditLog, OutsideCheckpoint } from '../audit/index.ts';
import type { AuditEvent, BlockedKey } from '../domain/index.ts';
import { databasePath, type ServerConfig } from '../config/index.ts';
import type { RestoreFacts } from '../services/inspection/restore-service.ts';
import type { Ledger } from '../ledger/index.ts';
import { readReplaced, type LostRecord } from '../store/index.ts';
import type { ServerContext } from './context.ts';
import type { SigningGate } from './signing-gate.ts';

/** So many revocations are recorded in one transaction. */
const againAtOnce = 250;

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
 * lost bans, evictions, revocations and blocked keys again, if the replaced database still proves them.
 */
export async function recordAcceptedLoss(
  { context: { config, clock, logger }, store }: AcceptedLossDependencies,
  { lost, keptRecords, actor }: AcceptedLoss,
): Promise<void> {
  const replaced = readReplaced(`${databasePath(config)}.replaced`, databasePath(config), lost);
  const proven = replaced?.proven === true ? replaced.lost : [];
  const ended = endedAtTheEnd(proven);
  const bans = ended.get('banned') ?? [];
  const evictions = ended.get('evicted') ?? [];
  const revocations = proven.flatMap(({ revocation }) =>
    revocation === undefined ? [] : [revocation],
  );
  const blocked = proven.flatMap(({ blockedKey }) =>
    blockedKey === undefined ? [] : [blockedKey],
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
        lostFromMs: await timeOf(store, keptRecords),
        replacedDatabase:
          replaced === undefined ? 'absent' : replaced.proven ? 'proven' : 'unproven',
        bansAgain: bans,
        evictionsAgain: evictions,
        revokedAgain: revocations.length,
        blockedAgain: blocked.length,
      },
    },
  ]);
  await endAgain(store, ended, event);
  const revokedEvent = (subject: string): AuditEvent => ({
    ...event,
    kind: 'certificate.revoked',
    subject,
    detail: { cause: 'revoked before the restore' },
  });
  for (let at = 0; at < revocations.length; at += againAtOnce) {
    const some = revocations.slice(at, at + againAtOnce);
    // they share a commit
    await Promise.all(
      some.map((each) => store.revocations.revokeAgain(each, revokedEvent(each.serial))),
    );
  }
  await blockAgain(store, blocked, event);
  logger.warn(
    {
      ...{ lostSize: lost.size, keptRecords, revokedAgain: revocations.length },
      blockedAgain: blocked.length,
      ...{ bansAgain: bans, evictionsAgain: evictions },
    },
    'the database was restored from a backup and its loss was accepted',
  );
}

/** The time of the last record that was kept; 0: the database had none. */
async function timeOf({ audit }: Pick<Ledger, 'audit'>, sequence: number): Promise<number> {
  const { items } = await audit.list({ sequence }, { size: 1 });
  return items[0]?.timeMs ?? 0;
}

type Ended = ReadonlyMap<'banned' | 'evicted', readonly string[]>;

async function endAgain(
  { agents }: Pick<Ledger, 'agents'>,
  ended: Ended,
  event: { readonly timeMs: number; readonly actor: string },
): Promise<void> {
  for (const [state, spiffeIds] of ended) {
    const reason = `${state} before the restore`;
    for (const spiffeId of spiffeIds) {
      const agent = await agents.byId(spiffeId);
      // who is banned here stays so: an eviction of the lost time would lift a ban that may be newer
      if (agent === undefined || agent.state === 'banned') continue;
      await agents.setState(spiffeId, state, reason, {
        ...event,
        kind: `agent.${state}`,
        subject: spiffeId,
        detail: { reason },
      });
    }
  }
}

async function blockAgain(
  { blockedKeys }: Pick<Ledger, 'blockedKeys'>,
  keys: readonly BlockedKey[],
  event: { readonly timeMs: number; readonly actor: string },
): Promise<void> {
  for (const key of keys)
    await blockedKeys.block(key, {
      ...event,
      kind: 'key.blocked',
      subject: key.publicKeySha256,
      detail: { cause: 'blocked before the restore' },
    });
}

/** Agents that were banned or evicted at the end of the lost time, and did not attest again. */
function endedAtTheEnd(lost: readonly LostRecord[]): Ended {
  const last = new Map<string, string>();
  for (const { kind, subject } of lost)
    if (['agent.banned', 'agent.evicted', 'agent.attested'].includes(kind)) last.set(subject, kind);
  const of = (kind: string): readonly string[] =>
    [...last].flatMap(([subject, end]) => (end === kind ? [subject] : []));
  return new Map([
    ['banned', of('agent.banned')],
    ['evicted', of('agent.evicted')],
  ]);
}
