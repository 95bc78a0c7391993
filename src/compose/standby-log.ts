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
  readonly auditLog: Pick<AuditLog, 'adopt' | 'signer'>;
  readonly gate: Pick<SigningGate, 'isOpen' | 'openToken'>;
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
    await this.#settle(await this.#dependencies.store.authorities.list({ kind: 'log' }));
  }

  /** The states follow whose key signs: also after a crash between the two. */
  async #settle(all: readonly Authority[]): Promise<void> {
    const signer = all.find(({ id }) => id === this.#dependencies.auditLog.signer.id);
    if (signer?.state !== 'published') return;
    await this.#move(signer, 'active');
    for (const other of all)
      if (other.id !== signer.id && other.state === 'active') await this.#move(other, 'old');
  }

  async #prepare(known: Authority | undefined): Promise<void> {
    const { store, recorded, issuancePolicy, gate, trustDomain, clock, random } =
      this.#dependencies;
    const maker = {
      authorities: store.authorities,
      recorded,
      issuancePolicy,
      trustDomain,
      plans: { log: logPlan },
      clockSkewSeconds: 0,
      clock,
      random,
    };
    let authority =
      known ?? (await recordAuthority({ kind: 'log', parentId: null, token: 'standby' }, maker));
    if (authority.state === 'preparing') {
      const token = await gate.openToken('standby');
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
    const { store, clock } = this.#dependencies;
    await store.authorities.transition(
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

/** The stack owns the standby log; there is none where no standby token is configured. */
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
  if (config.hsm.standby === undefined) return;
  const standbyLog = new StandbyLog({
    store: records.store,
    recorded: records.recorded,
    issuancePolicy: records.issuancePolicy,
    auditLog: records.log,
    gate,
    tokenLost: () => gate.signers.primaryToken() === 'standby' && !tokens.issuingTokenUsable(),
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
