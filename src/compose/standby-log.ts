import type { AuditLog } from '../audit/index.ts';
import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger, type Random } from '../common/runtime/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import type { Authority } from '../domain/index.ts';
import {
  authorityEvent,
  completeAuthority,
  recordAuthority,
  type AuthorityRegistry,
  type IssuancePolicy,
  type RecordedIssuance,
} from '../issuance/index.ts';
import type { Store } from '../store/index.ts';
import type { ServerContext } from './context.ts';
import { logPlan } from './settings.ts';
import type { SigningGate } from './signing-gate.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

export interface StandbyLogDependencies {
  readonly store: Pick<Store, 'authorities'>;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly auditLog: Pick<AuditLog, 'adopt' | 'catchUp' | 'signer'>;
  readonly gate: Pick<SigningGate, 'isOpen' | 'openToken'>;
  /** Whether leaves are signed in the standby token, and the issuing token does not answer. */
  readonly tokenLost: () => boolean;
  /**
   * Whether the issuing token answers, and the standby token signs no leaves or does not answer.
   */
  readonly tokenBack: () => boolean;
  /** Without a standby token, a key in it signs no more, and no other is made. */
  readonly standbyConfigured: boolean;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retryMs = 30_000;

/**
 * A key for the audit log in the standby token. It is on record in the log under the key that it
 * may have to replace. It signs when leaves are signed in the standby token and the issuing token is
 * lost, or when the server starts without the issuing token. When the issuing token signs leaves
 * again, a key in it signs the log again, and this one stands by again. Owner of its timer.
 */
export class StandbyLog {
  readonly #dependencies: StandbyLogDependencies;
  #working: Promise<void> | undefined;
  #again = false;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(dependencies: StandbyLogDependencies) {
    this.#dependencies = dependencies;
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
        if (this.#closed) return;
        this.#dependencies.logger.error(
          { ...errorFields(thrown), retryMs, alert: true },
          'the audit log has no key that stands by, or it could not take over; trying again',
        );
        this.#cancel = this.#dependencies.clock.after(
          this.#dependencies.tokenLost() ? 1_000 : retryMs,
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
    const { auditLog, gate, tokenLost } = this.#dependencies;
    if (!gate.isOpen) return;
    const all = await this.#dependencies.store.authorities.list({ kind: 'log' });
    await this.#settle(all);
    if (auditLog.signer.token === 'standby') {
      if (!this.#dependencies.tokenBack()) return;
      await this.#comeBack(all);
      await this.#settle(await this.#dependencies.store.authorities.list({ kind: 'log' }));
      // a key is to stand by
      this.#again = true;
      return;
    }
    if (!this.#dependencies.standbyConfigured) return;
    // one that signed before stands by again: keys of the log would pile up otherwise
    const standby = all.findLast(
      ({ token, state }) => token === 'standby' && (state === 'published' || state === 'old'),
    );
    if (!tokenLost()) {
      if (standby === undefined) await this.#prepare('standby', all);
      return;
    }
    if (standby === undefined)
      throw new PkiError(
        'HSM_KEY_NOT_FOUND',
        'the key of the audit log is lost, and none stands by: records are kept, sealed, and get no checkpoint',
      );
    await auditLog.adopt(standby);
    await this.#settle(await this.#dependencies.store.authorities.list({ kind: 'log' }));
  }

  /**
   * The key of the issuing token that signed before, if it is still there, since its record is in
   * the tree whichever token is away. Otherwise another key is made in the issuing token, and its
   * record comes into the tree under the key that it replaces.
   */
  async #comeBack(all: readonly Authority[]): Promise<void> {
    const { auditLog } = this.#dependencies;
    for (const earlier of all.filter(({ token, state }) => token === 'issuing' && state === 'old'))
      try {
        await auditLog.adopt(earlier);
        return;
      } catch (thrown) {
        if (PkiError.from(thrown).code !== 'HSM_KEY_NOT_FOUND') throw thrown;
      }
    const next =
      all.findLast(({ token, state }) => token === 'issuing' && state === 'published') ??
      (await this.#prepare('issuing', all));
    await auditLog.catchUp();
    await auditLog.adopt(next);
  }

  /** The states follow whose key signs: also after a crash between the two. */
  async #settle(all: readonly Authority[]): Promise<void> {
    const signer = all.find(({ id }) => id === this.#dependencies.auditLog.signer.id);
    if (signer?.state !== 'published' && signer?.state !== 'old') return;
    await this.#move(signer, 'active');
    for (const other of all)
      if (other.id !== signer.id && other.state === 'active') await this.#move(other, 'old');
  }

  /** Makes a key of the log in a token and publishes its authority, or goes on after a crash. */
  async #prepare(role: 'issuing' | 'standby', all: readonly Authority[]): Promise<Authority> {
    const known = all.findLast(
      ({ token, state }) => token === role && (state === 'preparing' || state === 'prepared'),
    );
    const { store, recorded, issuancePolicy, gate, trustDomain, clock, random } =
      this.#dependencies;
    const maker = {
      authorities: store.authorities,
      recorded,
      issuancePolicy,
      trustDomain,
      plans: { log: logPlan },
      clockSkewSeconds: 0,
      crlUrl: () => undefined,
      clock,
      random,
    };
    let authority =
      known ?? (await recordAuthority({ kind: 'log', parentId: null, token: role }, maker));
    if (authority.state === 'preparing') {
      const token = await gate.openToken(role);
      try {
        authority = await completeAuthority(
          { authority, parent: undefined, token, signingToken: undefined },
          maker,
        );
      } finally {
        await token.close();
      }
    }
    return this.#move(authority, 'published');
  }

  async #move(authority: Authority, to: Authority['state']): Promise<Authority> {
    const { store, clock } = this.#dependencies;
    return store.authorities.transition(
      { id: authority.id, version: authority.version, now: clock.now() },
      to,
      authorityEvent(
        this.#dependencies,
        { actor: 'server', kind: `authority.${to}`, authority },
        {
          token: authority.token,
        },
      ),
    );
  }
}

/** The stack owns the standby log. There is none if no standby token is configured or was used. */
export async function openStandbyLog(
  {
    context,
    tokens,
    records,
    registry,
  }: {
    readonly context: ServerContext;
    readonly tokens: TokenStage;
    readonly records: RecordStage;
    readonly registry: Pick<AuthorityRegistry, 'onChange'>;
  },
  stack: AsyncDisposableStack,
): Promise<void> {
  const { config, trustDomain, clock, random, logger } = context;
  const { gate } = tokens;
  if (config.hsm.standby === undefined && records.log.signer.state === 'active') return;
  const standbyLog = new StandbyLog({
    store: records.store,
    recorded: records.recorded,
    issuancePolicy: records.issuancePolicy,
    auditLog: records.log,
    gate,
    tokenLost: () => gate.signers.primaryToken() === 'standby' && !tokens.issuingTokenUsable(),
    tokenBack: () =>
      tokens.answers('issuing') &&
      (gate.signers.primaryToken() !== 'standby' || !tokens.answers('standby')),
    standbyConfigured: config.hsm.standby !== undefined,
    trustDomain,
    clock,
    random,
    logger: logger.child({ part: 'audit' }),
  });
  stack.defer(() => standbyLog.close());
  const look = (): void => void standbyLog.look();
  for (const stop of [registry.onChange(look), gate.signers.onChange(look), gate.onChange(look)])
    stack.defer(stop);
  await standbyLog.look();
}
