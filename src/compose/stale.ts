import { PkiError } from '../common/errors/index.ts';
import type { AuditLog } from '../audit/index.ts';
import type { TokenRole } from '../domain/index.ts';
import type { ManagedSigners, TokenAdmin } from '../hsm/index.ts';
import type { Issuer } from '../issuance/index.ts';
import type { LeaseStore } from '../store/ports/index.ts';

type Log = Pick<AuditLog, 'stale' | 'damage'>;

/** Why nothing is signed, or undefined. */
export function staleReason({ stale, damage }: Log): string | undefined {
  if (damage !== undefined) return `${damage.code}: ${damage.message}: nothing is signed`;
  if (stale === undefined) return undefined;
  return `DATABASE_STALE: the database has ${stale.size} records under checkpoints, ${stale.foundBy} has a checkpoint over ${stale.newer.size}: nothing is signed; see "meshca restore show"`;
}

function refusal({ stale, damage }: Log): PkiError | undefined {
  if (damage !== undefined)
    return new PkiError(damage.code, `nothing is signed: ${damage.message}`, { cause: damage });
  return stale === undefined
    ? undefined
    : new PkiError(
        'DATABASE_STALE',
        `the database is older than what was signed: nothing is signed before an operator has accepted the loss`,
      );
}

/**
 * The two doors to keys, shut while the database is stale, or damaged: signers and tokens. All that
 * signs certificates, tokens, bundles, CRLs and authorities goes through one of them; the log
 * itself does not, since it decides when they open again.
 */
export const heldSigners = (signers: ManagedSigners, log: Log): ManagedSigners => ({
  useKey: (key) => signers.useKey(key),
  forgetKey: (ckaId) => signers.forgetKey(ckaId),
  sign: (items) => {
    const error = refusal(log);
    return error === undefined
      ? signers.sign(items)
      : Promise.resolve(
          items.map(() => ({
            ok: false,
            kind: 'failed',
            code: error.code,
            message: error.message,
          })),
        );
  },
  state: () => signers.state(),
  onChange: (listener) => signers.onChange(listener),
  close: () => signers.close(),
  pids: () => signers.pids(),
  invalidateSessions: () => signers.invalidateSessions(),
  [Symbol.asyncDispose]: () => signers.close(),
});

export const heldTokens =
  (open: (role: TokenRole) => Promise<TokenAdmin>, log: Log) =>
  async (role: TokenRole): Promise<TokenAdmin> => {
    const error = refusal(log);
    if (error !== undefined) throw error;
    return open(role);
  };

/**
 * Refused before an intent is written: a database that may be put away again is not to fill with
 * what nobody signs.
 */
export const heldIssuer = (issuer: Issuer, log: Log): Issuer => ({
  issue: async (requests) => {
    const error = refusal(log);
    if (error !== undefined) throw error;
    return issuer.issue(requests);
  },
  issueJwt: async (request) => {
    const error = refusal(log);
    if (error !== undefined) throw error;
    return issuer.issueJwt(request);
  },
});

/** Nobody gets to act on authorities meanwhile: to whoever asks, another one holds the lease. */
export const heldLeases = (leases: LeaseStore, log: Log): LeaseStore => ({
  acquire: (...args) =>
    log.stale === undefined && log.damage === undefined
      ? leases.acquire(...args)
      : Promise.resolve(undefined),
  renew: async (...args) => {
    if (log.stale !== undefined || log.damage !== undefined)
      throw new PkiError('LEASE_LOST', 'nothing may be signed on the strength of the database');
    return leases.renew(...args);
  },
  release: (lease) => leases.release(lease),
});
