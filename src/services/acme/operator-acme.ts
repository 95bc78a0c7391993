import type {
  AcmeAccount,
  AcmeAccountStatus,
  AcmeOrder,
  EabKey,
  EabKeyInput,
  OrderStatus,
} from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { AnonymousCaller, DelegateCaller, OperatorCaller } from '../callers/caller.ts';

/** An EAB key with what its holder needs. Whoever has this can make accounts with it. */
export interface EabKeySecret {
  readonly key: EabKey;
  /** 32 bytes. Clients take them as base64url. */
  readonly macKey: Buffer;
  /** Empty: this server has no ACME. */
  readonly directoryUrl: string;
}

/** Keys for external account binding, for operators. */
export interface EabKeys {
  /** The verb acme.write on the tenant, or on every pattern; every right where there are IP ranges. */
  create(caller: OperatorCaller, input: EabKeyInput, signal?: AbortSignal): Promise<EabKeySecret>;
  list(
    caller: OperatorCaller,
    filter: { readonly tenant: string; readonly includeEnded: boolean },
    page: PageRequest,
  ): Promise<Page<EabKey>>;
  get(caller: OperatorCaller, id: string): Promise<EabKey>;
  /** The MAC key again, for whoever may create such a key. On record. EAB_KEY_ENDED. */
  secret(caller: OperatorCaller, id: string): Promise<EabKeySecret>;
  /** Why nothing more is issued by each key, its source included. Undefined: it stands. */
  ends(keys: readonly EabKey[]): Promise<readonly (string | undefined)[]>;
  /** Ends the key, and with it what its accounts would be issued, renewals included. */
  revoke(caller: OperatorCaller, id: string, reason: string): Promise<EabKey>;
}

/** What a delegate wants to order. */
export interface ExchangeAsk {
  readonly dnsNames: readonly string[];
  readonly ips: readonly string[];
  /** Empty: that of the delegation. */
  readonly profile: string;
}

/** What the holder of a token of another issuer wants to order. */
export interface TokenExchangeAsk extends ExchangeAsk {
  readonly token: string;
  /** The identity that is meant, where the token gives several; empty: the only one. */
  readonly spiffeId: string;
}

/** EAB keys for callers that prove themselves otherwise. */
export interface EabExchange {
  /**
   * A key for one account and some minutes, for names that a delegation of the caller covers. It
   * ends at once with what it came from (`EabKeySource`).
   */
  exchange(caller: DelegateCaller, ask: ExchangeAsk, signal?: AbortSignal): Promise<EabKeySecret>;
  /**
   * The same for the holder of a token, which counts once. An entry below its issuer gives the
   * SPIFFE ID whose delegations count.
   *
   * @throws PkiError TOKEN_*, ENTRY_NOT_AUTHORIZED, TOKEN_GRANT_AMBIGUOUS, OUTSIDE_DELEGATION
   */
  exchangeToken(
    caller: AnonymousCaller,
    ask: TokenExchangeAsk,
    signal?: AbortSignal,
  ): Promise<EabKeySecret>;
}

/** Empty texts: any. */
export interface AccountFilter {
  readonly tenant: string;
  readonly eabKeyId: string;
  readonly status: AcmeAccountStatus | '';
}

/** Accounts of ACME, for operators. */
export interface AcmeAccounts {
  list(
    caller: OperatorCaller,
    filter: AccountFilter,
    page: PageRequest,
  ): Promise<Page<AcmeAccount>>;
  get(caller: OperatorCaller, id: string): Promise<AcmeAccount>;
  /** Nothing more is issued to it, renewals included. Its certificates live on. */
  end(caller: OperatorCaller, id: string, reason: string): Promise<AcmeAccount>;
}

/** Empty texts: any. */
export interface OrderFilter {
  readonly tenant: string;
  readonly eabKeyId: string;
  readonly accountId: string;
  /** An identifier of the order, as it was ordered. */
  readonly name: string;
  readonly status: OrderStatus | '';
}

/** Orders of ACME, for operators. */
export interface AcmeOrders {
  list(caller: OperatorCaller, filter: OrderFilter, page: PageRequest): Promise<Page<AcmeOrder>>;
  get(caller: OperatorCaller, id: string): Promise<AcmeOrder>;
}
