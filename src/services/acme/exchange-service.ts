import { PkiError } from '../../common/errors/index.ts';
import { KeyedBuckets } from '../../common/runtime/index.ts';
import type { EabKey, Rights } from '../../domain/index.ts';
import type { TokenMac } from '../../hsm/mac-port.ts';
import type { LedgerAcme } from '../../ledger/index.ts';
import type { AcmeWrite } from '../../store/ports/index.ts';
import type { AnonymousCaller, DelegateCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import {
  activeDelegations,
  type ActiveDelegationDependencies,
} from '../issuing/active-delegations.ts';
import { enforceRate } from '../requests.ts';
import { eabMacKey } from './eab-secret.ts';
import { exchangedDetail, exchangedKey, type ExchangedKeyDependencies } from './exchanged-key.ts';
import type { EabExchange, EabKeySecret, ExchangeAsk, TokenExchangeAsk } from './operator-acme.ts';
import { TokenHolders, type TokenHolderDependencies } from './token-holders.ts';

export interface ExchangeDependencies
  extends ActiveDelegationDependencies,
    ExchangedKeyDependencies,
    TokenHolderDependencies {
  readonly eabKeys: Pick<LedgerAcme['eabKeys'], 'create'>;
  readonly mac: TokenMac;
  readonly refusals: RefusalLog;
  readonly clock: ExchangedKeyDependencies['clock'];
  readonly settings: ExchangedKeyDependencies['settings'];
  readonly objects: TokenHolderDependencies['objects'];
  /** Called with the end of each exchange: ok, or a code. */
  readonly onExchanged: (by: 'svid' | 'token', result: string) => void;
}

/**
 * Gives a caller with a delegation of names a key for an ACME client of its own. It proves itself by
 * its SVID, or by a token of another issuer. Owner of the limit on such calls.
 */
export class ExchangeService implements EabExchange {
  readonly #dependencies: ExchangeDependencies;
  readonly #tokens: TokenHolders;
  readonly #buckets: KeyedBuckets;

  constructor(dependencies: ExchangeDependencies) {
    this.#dependencies = dependencies;
    this.#tokens = new TokenHolders(dependencies);
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  exchange(caller: DelegateCaller, ask: ExchangeAsk, signal?: AbortSignal): Promise<EabKeySecret> {
    const { refusals } = this.#dependencies;
    return this.#observed('svid', () =>
      refusing(refusals, { caller, operation: 'ExchangeEabKey' }, async () => {
        const { spiffeId, serial, node } = caller;
        this.#enforceRate(spiffeId);
        const key = await exchangedKey(
          {
            ...{ spiffeId, createdBy: spiffeId, endsAt: caller.notAfter },
            delegations: await activeDelegations(this.#dependencies, caller),
            source: (delegationId) => ({
              ...{ by: 'svid', spiffeId, delegationId, serial },
              agent: node?.spiffeId ?? null,
            }),
          },
          ask,
          this.#dependencies,
        );
        return this.#created(key, {
          rights: callerRights(caller),
          event: this.#eventOf(key, spiffeId, { serial }),
          signal,
        });
      }),
    );
  }

  exchangeToken(
    caller: AnonymousCaller,
    { token: text, ...ask }: TokenExchangeAsk,
    signal?: AbortSignal,
  ): Promise<EabKeySecret> {
    const { refusals } = this.#dependencies;
    return this.#observed('token', () =>
      refusing(refusals, { caller, operation: 'ExchangeToken' }, async () => {
        const token = await this.#tokens.verified(caller, text, signal);
        const issuerId = this.#tokens.issuerId(token);
        try {
          const holder = await this.#tokens.holderOf(token, ask.spiffeId);
          this.#enforceRate(holder.spiffeId);
          const key = await exchangedKey(holder, ask, this.#dependencies);
          const detail = { ...this.#tokens.detailOf(holder), peer: caller.peer };
          return await this.#created(key, {
            rights: holder.rights,
            token: this.#tokens.markOf(holder, key, caller.peer),
            event: this.#eventOf(key, issuerId, detail),
            signal,
          });
        } catch (thrown) {
          // from here on it is known who asks
          const error = PkiError.from(thrown);
          this.#tokens.refused(caller, error);
          await refusals.refusedAs(issuerId, 'ExchangeToken', error, token.subject);
          throw error;
        }
      }),
    );
  }

  #enforceRate(spiffeId: string): void {
    enforceRate(this.#buckets.take(spiffeId, 1), 'too many keys');
  }

  /** The transaction checks the rights of the caller, and everything that the key rests on. */
  async #created(key: EabKey, write: AcmeWrite): Promise<EabKeySecret> {
    const { eabKeys, mac, settings } = this.#dependencies;
    // before the record: without its token a key is of no use to anybody
    const macKey = await eabMacKey(mac, key.id);
    const rights: Rights = [
      { kind: 'tenant', name: key.tenant },
      { kind: 'delegation', id: key.source?.delegationId ?? '' },
      ...write.rights,
    ];
    await eabKeys.create(key, { ...write, rights });
    return { key, macKey, directoryUrl: settings.acmeDirectoryUrl ?? '' };
  }

  #eventOf(key: EabKey, actor: string, detail: AcmeWrite['event']['detail']): AcmeWrite['event'] {
    return {
      timeMs: this.#dependencies.clock.nowMs(),
      actor,
      kind: 'eab-key.created',
      subject: key.id,
      detail: { ...exchangedDetail(key), ...detail },
    };
  }

  async #observed(by: 'svid' | 'token', act: () => Promise<EabKeySecret>): Promise<EabKeySecret> {
    const { onExchanged } = this.#dependencies;
    try {
      const secret = await act();
      onExchanged(by, 'ok');
      return secret;
    } catch (thrown) {
      onExchanged(by, PkiError.from(thrown).code);
      throw thrown;
    }
  }
}
