import { PkiError } from '../common/errors/index.ts';
import type { AuditLog } from '../audit/index.ts';
import type { TokenRole } from '../domain/index.ts';
import {
  failedOutcome,
  type ManagedSigners,
  type SignerRouter,
  type Signers,
  type SignItem,
  type SignOutcome,
  type TokenAdmin,
} from '../hsm/index.ts';
import type { Issuer } from '../issuance/index.ts';
import type { LeaseStore } from '../store/ports/index.ts';

/**
 * Tells whether the database is the one that was signed last. In production this is the audit log.
 */
export type GateJudge = Pick<AuditLog, 'stale' | 'damage' | 'onStale'>;

/** The signers in the form that every part except the audit log gets. */
export type GatedSigners = Omit<
  ManagedSigners,
  'close' | 'changePin' | typeof Symbol.asyncDispose
> &
  Pick<SignerRouter, 'stateOf' | 'primaryToken' | 'canUse' | 'follow'>;

/**
 * The only way to the keys. Signers and tokens are built behind it, and no other part of the server
 * holds them. The gate is closed until the audit log has judged the database, while the log calls
 * the database stale or damaged, and permanently after `shut`. Everything that signs certificates,
 * tokens, bundles, CRLs and authorities uses `signers` or `openToken`. The audit log uses
 * `logSigners`: it decides when the gate opens, so that only `shut` stops it.
 *
 * Owner of the fact whether anything may be signed.
 */
export class SigningGate {
  readonly #openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly #works: (() => Promise<void> | void)[] = [];
  #router: SignerRouter | undefined;
  #judge: GateJudge | undefined;
  #beforeJudgement = 0;
  #shut = false;

  constructor(openToken: (role: TokenRole) => Promise<TokenAdmin>) {
    this.#openToken = openToken;
  }

  get isOpen(): boolean {
    return this.refusal() === undefined;
  }

  /** The error for a caller while nothing is signed. Undefined: the gate is open. */
  refusal(): PkiError | undefined {
    if (this.#shut) return stopping();
    if (this.#judge === undefined) {
      if (this.#beforeJudgement > 0) return undefined;
      return new PkiError(
        'STARTING_UP',
        'nothing is signed before the audit log has judged the database',
      );
    }
    const { damage, stale } = this.#judge;
    if (damage !== undefined)
      return new PkiError(damage.code, `nothing is signed: ${damage.message}`, { cause: damage });
    if (stale === undefined) return undefined;
    return new PkiError(
      'DATABASE_STALE',
      'the database is older than what was signed: nothing is signed before an operator has accepted the loss',
    );
  }

  /** The same reason for operators, with numbers, as readiness shows it. */
  reason(): string | undefined {
    const refusal = this.refusal();
    if (refusal === undefined) return undefined;
    const { damage, stale } = this.#judge ?? {};
    if (damage !== undefined) return `${damage.code}: ${damage.message}: nothing is signed`;
    if (stale === undefined) return `${refusal.code}: ${refusal.message}`;
    return (
      `DATABASE_STALE: the database has ${stale.size} records under checkpoints, ` +
      `${stale.foundBy} has a checkpoint over ${stale.newer.size}: nothing is signed; see ` +
      '"meshca restore show"'
    );
  }

  /** Puts the signers behind the gate, once. They stay the caller's. */
  enclose(router: SignerRouter): void {
    if (this.#router !== undefined)
      throw new PkiError('INTERNAL', 'the gate already has its signers');
    this.#router = router;
  }

  /** From now on the log decides. Called once. */
  judgedBy(judge: GateJudge): void {
    if (this.#judge !== undefined) throw new PkiError('INTERNAL', 'the gate already has its judge');
    this.#judge = judge;
  }

  /**
   * Opens the gate for one work before the log has judged: the first authorities must be made
   * first, and with them the key of the log. The caller has checked the stored log.
   */
  async beforeJudgement(work: () => Promise<void>): Promise<void> {
    if (this.#judge !== undefined)
      throw new PkiError('INTERNAL', 'the log has already judged the database');
    this.#beforeJudgement += 1;
    try {
      await work();
    } finally {
      this.#beforeJudgement -= 1;
    }
  }

  /** Closes the gate permanently, also for the log, because the server stops. */
  shut(): void {
    this.#shut = true;
  }

  /** Called when the judgement has changed. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void {
    if (this.#judge === undefined)
      throw new PkiError('INTERNAL', 'the log has not judged the database yet');
    return this.#judge.onStale(listener);
  }

  /** Registers work for each time that the gate opens again, in the order of registration. */
  onReopen(work: () => Promise<void> | void): void {
    this.#works.push(work);
  }

  /** Does the work now if the gate is open, and each time that it opens again. */
  async whenOpen(work: () => Promise<void> | void): Promise<void> {
    this.onReopen(work);
    if (this.isOpen) await work();
  }

  /** Does the work that waited for the gate. Called after an operator has accepted the loss. */
  async reopened(): Promise<void> {
    for (const work of this.#works) await work();
  }

  readonly signers: GatedSigners = {
    useKey: (key) => this.#enclosed().useKey(key),
    useMacKey: (key) => this.#enclosed().useMacKey(key),
    mac: (ckaId, input) => this.#required(() => this.#enclosed().mac(ckaId, input)),
    forgetKey: (ckaId) => this.#enclosed().forgetKey(ckaId),
    sign: (items, signal) => {
      const refusal = this.refusal();
      return refusal === undefined
        ? this.#enclosed().sign(items, signal)
        : Promise.resolve(failedOutcomes(items, refusal));
    },
    state: () => this.#enclosed().state(),
    stateOf: (token) => this.#enclosed().stateOf(token),
    primaryToken: () => this.#enclosed().primaryToken(),
    canUse: (ckaId) => this.#enclosed().canUse(ckaId),
    follow: (primary) => this.#enclosed().follow(primary),
    onChange: (listener) => this.#enclosed().onChange(listener),
    pids: () => this.#enclosed().pids(),
    invalidateSessions: () => this.#enclosed().invalidateSessions(),
  };

  /** For the audit log only. */
  readonly logSigners: Pick<Signers, 'sign' | 'useKey'> = {
    useKey: (key) => this.#enclosed().useKey(key),
    sign: (items) =>
      this.#shut
        ? Promise.resolve(failedOutcomes(items, stopping()))
        : this.#enclosed().sign(items),
  };

  /** Opens a token. Each of its signatures and key generations passes the gate. */
  readonly openToken = async (role: TokenRole): Promise<TokenAdmin> => {
    this.#require();
    const token = await this.#openToken(role);
    return {
      generateKey: (key) => this.#required(() => token.generateKey(key)),
      findKey: (ckaId) => token.findKey(ckaId),
      listKeys: () => token.listKeys(),
      sign: (key, bytes) => this.#required(() => token.sign(key, bytes)),
      generateMacKey: (key) => this.#required(() => token.generateMacKey(key)),
      findMacKey: (ckaId) => token.findMacKey(ckaId),
      destroyKey: (ckaId) => this.#required(() => token.destroyKey(ckaId)),
      close: () => token.close(),
    };
  };

  /**
   * Refuses before an intent is written: a database that may be replaced must not fill with intents
   * that nobody signs.
   */
  issuer(issuer: Issuer): Issuer {
    return {
      issue: (requests) => this.#required(() => issuer.issue(requests)),
      issueJwt: (request) => this.#required(() => issuer.issueJwt(request)),
    };
  }

  /**
   * Gives no lease while the gate is closed, so that nobody acts on authorities or prunes. For the
   * caller it looks as if another process held the lease.
   */
  leases(leases: LeaseStore): LeaseStore {
    return {
      acquire: (...args) => (this.isOpen ? leases.acquire(...args) : Promise.resolve(undefined)),
      renew: async (...args) => {
        if (!this.isOpen)
          throw new PkiError(
            'LEASE_LOST',
            'the database is not trusted, so that nothing may be signed',
          );
        return leases.renew(...args);
      },
      release: (lease) => leases.release(lease),
    };
  }

  #require(): void {
    const refusal = this.refusal();
    if (refusal !== undefined) throw refusal;
  }

  async #required<T>(work: () => Promise<T>): Promise<T> {
    this.#require();
    return work();
  }

  #enclosed(): SignerRouter {
    if (this.#router === undefined)
      throw new PkiError('INTERNAL', 'the signers are used before they are started');
    return this.#router;
  }
}

const failedOutcomes = (
  items: readonly SignItem[],
  { code, message }: PkiError,
): readonly SignOutcome[] => items.map(() => failedOutcome(code, message));

const stopping = (): PkiError =>
  new PkiError('SHUTTING_DOWN', 'the server is stopping and signs nothing any more');
