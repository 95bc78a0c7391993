import type { Clock, Logger } from '../common/runtime/index.ts';
import type { LogMemory, Store } from '../store/ports/index.ts';
import { ledgerAgents, type LedgerAgents } from './agents.ts';
import { ledgerApprovals, type LedgerApprovals } from './approvals.ts';
import { Confirmations } from './confirmations.ts';
import { ledgerEvidence, type LedgerEvidence } from './evidence.ts';
import { LogBook, type LedgerLog } from './log.ts';
import { emptyMemory } from './memory.ts';
import { Objects, type ObjectLedger } from './objects.ts';
import { ledgerRevocations, type LedgerRevocations } from './revocations.ts';
import { ledgerRotations, type LedgerRotations } from './rotations.ts';
import { UncheckedObjects } from './unchecked-objects.ts';

/** Nouns of the store about which the log knows more than the rows. */
interface LoggedNouns {
  readonly agents: LedgerAgents;
  readonly approvals: LedgerApprovals;
  readonly evidence: LedgerEvidence;
  readonly log: LedgerLog;
  readonly revocations: LedgerRevocations;
  readonly rotations: LedgerRotations;
}

/** The store as everybody above sees it: its rows, and what the log says of them. */
export interface Ledger extends Omit<Store, keyof LoggedNouns | 'consumers'>, LoggedNouns {
  readonly objects: ObjectLedger;
}

export interface LedgerOptions {
  /** Opens the engine; it feeds this memory and asks it. */
  readonly engine: (memory: LogMemory) => Promise<Store>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Takes every row for what the log has: shows what the comparison costs. */
  readonly unchecked?: boolean;
}

/**
 * Opens a store with the memory of its log. On return the memory says what the records in the tree
 * say.
 * @throws what the engine throws
 */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { engine, clock, logger, unchecked = false } = options;
  const memory = emptyMemory(clock, unchecked ? new UncheckedObjects() : new Objects());
  const { objects, issued } = memory;
  const book = new LogBook({ memory, clock, logger, complete: !unchecked });
  const store = await engine({
    guard: {
      requireRow: (kind, id, found) => objects.requireRow(kind, id, found),
      sameRow: (kind, id, found) => objects.sameRow(kind, id, found),
      announce: (mismatch) => objects.announce(mismatch),
      revocation: (serial) => objects.revoked.get(serial),
      crlNumber: (authorityId) => objects.revoked.crlNumber(authorityId),
    },
    begin: (log) => book.begin(log),
    committed: unchecked ? () => {} : (records) => book.committed(records),
  });
  const confirmations = new Confirmations(store.consumers, {
    clock,
    announce: (mismatch) => objects.announce(mismatch),
  });
  const { consumers: _, ...rows } = store;
  return {
    ...rows,
    agents: ledgerAgents(store.agents, confirmations, objects),
    approvals: ledgerApprovals(store.approvals, objects),
    evidence: ledgerEvidence(store.evidence, objects),
    log: book.view(),
    objects,
    revocations: ledgerRevocations(store.revocations, objects),
    rotations: ledgerRotations(store.rotations, issued, confirmations),
  };
}
