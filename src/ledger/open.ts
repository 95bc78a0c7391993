import type { Clock, Logger } from '../common/runtime/index.ts';
import type { LogMemory, Store } from '../store/ports/index.ts';
import { ledgerAcme, type LedgerAcme } from './acme.ts';
import { ledgerAgents, type LedgerAgents } from './agents.ts';
import { ledgerApprovals, type LedgerApprovals } from './approvals.ts';
import { ledgerAuthorities, standingOf, type LedgerAuthorities } from './authorities.ts';
import { ledgerBlockedKeys, type LedgerBlockedKeys } from './blocked-keys.ts';
import { Confirmations } from './confirmations.ts';
import { compareDelegations, ledgerDelegations, type LedgerDelegations } from './delegations.ts';
import { ledgerEvidence, type LedgerEvidence } from './evidence.ts';
import { ledgerFederation, type LedgerFederation } from './federation.ts';
import { ledgerIssuancePolicies, type LedgerIssuancePolicies } from './issuance-policies.ts';
import { ledgerIssuance } from './issuance.ts';
import { LogBook, type LedgerLog } from './log.ts';
import { emptyMemory } from './memory.ts';
import { Objects, type ObjectLedger } from './objects.ts';
import type { LedgerQuotas } from './quota-places.ts';
import { ledgerRevocations, type LedgerRevocations } from './revocations.ts';
import { ledgerRoles, type LedgerRoles } from './roles.ts';
import { ledgerRotations, type LedgerRotations } from './rotations.ts';
import { RowComparison } from './row-comparison.ts';
import { ledgerTenants, type LedgerTenants } from './tenants.ts';
import { ledgerTokens, type LedgerTokens } from './tokens.ts';
import { announceUnfound } from './unfound-rows.ts';
import { UncheckedObjects } from './unchecked-objects.ts';
import { Watchers, type LedgerWatchers } from './watchers.ts';

/** The nouns of the store that the log can prove. */
interface LoggedNouns {
  readonly acme: LedgerAcme;
  readonly agents: LedgerAgents;
  readonly authorities: LedgerAuthorities;
  readonly approvals: LedgerApprovals;
  readonly blockedKeys: LedgerBlockedKeys;
  readonly delegations: LedgerDelegations;
  readonly evidence: LedgerEvidence;
  readonly federation: LedgerFederation;
  readonly issuancePolicies: LedgerIssuancePolicies;
  readonly log: LedgerLog;
  readonly revocations: LedgerRevocations;
  readonly roles: LedgerRoles;
  readonly rotations: LedgerRotations;
  readonly tenants: LedgerTenants;
  readonly tokens: LedgerTokens;
}

/** The store as the layers above see it: its rows, and what the log says of them. */
export interface Ledger extends Omit<Store, keyof LoggedNouns | 'consumers'>, LoggedNouns {
  readonly objects: ObjectLedger;
  readonly quotas: LedgerQuotas;
  readonly watchers: LedgerWatchers;
}

export interface LedgerOptions {
  /** Opens the engine, which feeds this memory and asks it. */
  readonly engine: (memory: LogMemory) => Promise<Store>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Treats every row as proven, to measure the cost of the comparison. */
  readonly unchecked?: boolean;
}

/**
 * Opens a store with the memory of its log. On return the memory contains what the records in the
 * tree say.
 *
 * @throws the errors of the engine
 */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { engine, clock, logger, unchecked = false } = options;
  const memory = emptyMemory(clock, unchecked ? new UncheckedObjects() : new Objects());
  const { objects, issued, quotas, shards } = memory;
  const book = new LogBook({ memory, clock, logger, complete: !unchecked });
  const store = await engine({
    guard: {
      requireRow: (kind, id, row) => objects.requireRow(kind, id, row),
      sameRow: (kind, id, row) => objects.sameRow(kind, id, row),
      announce: (mismatch) => objects.announce(mismatch),
      living: () => objects.living(),
      revocation: (serial) => objects.revoked.get(serial),
      blockedKey: (sha256) => objects.blocked.get(sha256),
      crlNumber: (id) => objects.revoked.crlNumber(id),
      placeEnds: (counter) => quotas.ends(counter),
    },
    begin: (log) => book.begin(log),
    committed: unchecked ? () => {} : (records) => book.committed(records),
  });
  const confirmations = new Confirmations(store.consumers, {
    clock,
    announce: (mismatch) => objects.announce(mismatch),
  });
  const comparisons = comparisonsOf(store, objects, options);
  const { consumers: _, ...rows } = store;
  const standing = () => standingOf(store, objects);
  return {
    ...rows,
    acme: ledgerAcme(store.acme, objects, comparisons),
    agents: ledgerAgents(store.agents, confirmations, objects),
    approvals: ledgerApprovals(store.approvals, objects),
    blockedKeys: ledgerBlockedKeys(store.blockedKeys, objects),
    delegations: ledgerDelegations(store.delegations, comparisons.delegations),
    evidence: ledgerEvidence(store.evidence, objects),
    federation: ledgerFederation(store.federation, objects),
    issuance: ledgerIssuance(store.issuance, issued.unreplaced, {
      isBlocked: (sha256) => objects.blocked.get(sha256) !== undefined,
      isRevoked: (serial) => objects.revoked.get(serial) !== undefined,
    }),
    issuancePolicies: ledgerIssuancePolicies(store.issuancePolicies, objects),
    log: book.view(),
    objects,
    quotas,
    revocations: ledgerRevocations(store.revocations, objects, shards),
    roles: ledgerRoles(store.roles, objects),
    authorities: ledgerAuthorities(store.authorities, objects, standing),
    rotations: ledgerRotations(store.rotations, issued, confirmations, { objects, standing }),
    tenants: ledgerTenants(store.tenants, objects),
    tokens: ledgerTokens(store.tokens, objects),
    watchers: new Watchers(store.audit, issued, clock),
    close: () => {
      comparisons.close();
      return store.close();
    },
  };
}

/** Accounts and orders of ACME are looked up all the time: a minute at least lies between two. */
const searchRestMs = 60_000;

function comparisonsOf(
  { delegations, acme: { accounts, orders } }: Pick<Store, 'delegations' | 'acme'>,
  objects: Objects,
  { clock, logger }: Pick<LedgerOptions, 'clock' | 'logger'>,
) {
  const options = { clock, logger, restMs: searchRestMs };
  const search = (of: string, announce: () => Promise<void>) =>
    new RowComparison(of, announce, options);
  const comparisons = {
    delegations: new RowComparison('delegations', () => compareDelegations(delegations, objects), {
      clock,
      logger,
    }),
    accounts: search('ACME accounts', () => announceUnfound('acme-account', accounts, objects)),
    orders: search('ACME orders', () => announceUnfound('acme-order', orders, objects)),
  };
  return {
    ...comparisons,
    close(): void {
      for (const comparison of Object.values(comparisons)) comparison.close();
    },
  };
}
