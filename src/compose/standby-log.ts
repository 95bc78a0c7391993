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
  readonly store: Pick<Store, 'authorities' | 'audit'>;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly auditLog: Pick<AuditLog, 'adopt' | 'catchUp' | 'signer'>;
  readonly gate: Pick<SigningGate, 'isOpen' | 'openToken'>;
  /** Whether the standby token signs leaves, and the issuing token does not answer. */
  readonly tokenLost: () => boolean;
  /**
   * Whether the issuing token answers, and the standby token does not answer or signs no leaves.
   */
  readonly tokenBack: () => boolean;
  /** Without a standby token, a key in it signs no more, and no further key is made. */
  readonly standbyConfigured: boolean;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retryMs = 30_000;

/**
 * A key of the audit log in the standby token. The log records it under the key that it may
 * replace. It signs when the standby token signs leaves and the issuing token is lost, or when the
 * server starts without the issuing token. When the issuing token signs leaves again, a key in it
 * signs the log again, and this key becomes the standby again. Owner of its timer.
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
   * Looks whether work is due. Resolves when it is done or has failed. Never throws: a failure is
   * retried.
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
          'the audit log has no standby key, or the standby key could not take over; trying again',
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
      // a standby key is needed
      this.#again = true;
      return;
    }
    if (!this.#dependencies.standbyConfigured) return;
    // a key that signed before becomes the standby again: otherwise keys of the log would
    // accumulate
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
        'the key of the audit log is lost, and there is no standby key: records are kept ' +
          'and sealed, but get no checkpoint',
      );
    await auditLog.adopt(standby);
    await this.#settle(await this.#dependencies.store.authorities.list({ kind: 'log' }));
  }

  /**
   * Uses the key of the issuing token that signed before, if it still exists: its record is in the
   * tree, whichever token is missing. Otherwise another key is made in the issuing token. Its
   * record gets into the tree under the key that it replaces.
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

  /** Makes the states follow the signing key, also after a crash between the two. */
  async #settle(all: readonly Authority[]): Promise<void> {
    const signer = all.find(({ id }) => id === this.#dependencies.auditLog.signer.id);
    if (signer?.state !== 'published' && signer?.state !== 'old') return;
    await this.#move(signer, 'active');
    for (const earlier of all)
      if (earlier.id !== signer.id && earlier.state === 'active') await this.#move(earlier, 'old');
  }

  /** Makes a key of the log in a token and publishes its authority, or continues after a crash. */
  async #prepare(role: 'issuing' | 'standby', all: readonly Authority[]): Promise<Authority> {
    const known = all.findLast(
      ({ token, state }) => token === role && (state === 'preparing' || state === 'prepared'),
    );
    const { store, recorded, issuancePolicy, gate, trustDomain, clock, random } =
      this.#dependencies;
    const maker = {
      authorities: store.authorities,
      audit: store.audit,
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

/**
 * Owner of the standby log: the stack. There is none if no standby token is configured and none was
 * used.
 */
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
