import type { AuditLog } from '../audit/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger, Random } from '../common/runtime/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import type { Authority, TokenRole } from '../domain/index.ts';
import type { TokenAdmin } from '../hsm/index.ts';
import { authorityEvent, completeAuthority, recordAuthority } from '../issuance/index.ts';
import type { Store } from '../store/index.ts';
import { logPlan } from './audit.ts';

export interface StandbyLogParts {
  readonly store: Pick<Store, 'authorities' | 'issuance'>;
  readonly auditLog: Pick<AuditLog, 'adopt' | 'signer' | 'stale'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  /** Whether leaves are signed in the standby token, and the issuing token does not answer. */
  readonly tokenLost: () => boolean;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retryMs = 30_000;

/**
 * A key for the audit log in the standby token. It is on record in the log under the key that it
 * may have to replace, and signs nothing until leaves are signed in the standby token and the
 * issuing token is lost. Owner of its timer.
 */
export class StandbyLog {
  readonly #parts: StandbyLogParts;
  #working: Promise<void> | undefined;
  #again = false;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(parts: StandbyLogParts) {
    this.#parts = parts;
  }

  /**
   * Looks whether something is to be done; resolves when it is done or failed. Never throws: it is
   * tried again.
   */
  look(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#working !== undefined) {
      this.#again = true;
      return this.#working;
    }
    this.#cancel?.();
    this.#working = this.#work()
      .catch((thrown: unknown) => {
        const { code, message } = PkiError.from(thrown);
        if (this.#closed) return;
        this.#parts.logger.error(
          { code, error: message, retryMs, alert: true },
          'the audit log has no key that stands by, or it could not take over; trying again',
        );
        this.#cancel = this.#parts.clock.after(
          this.#parts.tokenLost() ? 1_000 : retryMs,
          () => void this.look(),
        );
      })
      .finally(() => {
        this.#working = undefined;
        if (!this.#again) return;
        this.#again = false;
        void this.look();
      });
    return this.#working;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#working;
  }

  async #work(): Promise<void> {
    const { auditLog, tokenLost } = this.#parts;
    if (auditLog.stale !== undefined) return;
    const all = await this.#parts.store.authorities.list({ kind: 'log' });
    await this.#settle(all);
    if (auditLog.signer.token === 'standby') return;
    const standby = all.findLast(
      ({ token, state }) => token === 'standby' && state === 'published',
    );
    if (!tokenLost()) {
      if (standby === undefined)
        await this.#prepare(
          all.findLast(
            ({ token, state }) =>
              token === 'standby' && (state === 'preparing' || state === 'prepared'),
          ),
        );
      return;
    }
    if (standby === undefined)
      throw new PkiError(
        'HSM_KEY_NOT_FOUND',
        'the key of the audit log is lost, and none stands by: records are kept, sealed, and get no checkpoint',
      );
    await auditLog.adopt(standby);
    await this.#settle(await this.#parts.store.authorities.list({ kind: 'log' }));
  }

  /** The states follow whose key signs: also after a crash between the two. */
  async #settle(all: readonly Authority[]): Promise<void> {
    const signer = all.find(({ id }) => id === this.#parts.auditLog.signer.id);
    if (signer?.state !== 'published') return;
    await this.#move(signer, 'active');
    for (const other of all)
      if (other.id !== signer.id && other.state === 'active') await this.#move(other, 'old');
  }

  async #prepare(known: Authority | undefined): Promise<void> {
    const { store, openToken, trustDomain, clock, random } = this.#parts;
    const maker = {
      authorities: store.authorities,
      issuance: store.issuance,
      trustDomain,
      plans: { log: logPlan },
      clockSkewSeconds: 0,
      clock,
      random,
    };
    let authority =
      known ?? (await recordAuthority({ kind: 'log', parentId: null, token: 'standby' }, maker));
    if (authority.state === 'preparing') {
      const token = await openToken('standby');
      try {
        authority = await completeAuthority(
          { authority, parent: undefined, token, signingToken: undefined },
          maker,
        );
      } finally {
        await token.close();
      }
    }
    await this.#move(authority, 'published');
  }

  async #move(authority: Authority, to: Authority['state']): Promise<void> {
    const { store, clock } = this.#parts;
    await store.authorities.transition(
      authority.id,
      authority.version,
      to,
      clock.now(),
      authorityEvent(this.#parts, 'server', `authority.${to}`, authority, {
        token: authority.token,
      }),
    );
  }
}
