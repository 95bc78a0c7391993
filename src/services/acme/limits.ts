import { nextFreePlace, type QuotaPlace } from '../../common/policy/index.ts';
import { holderOf, KeyedBuckets, type Clock, type Rate } from '../../common/runtime/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import {
  failureCounter,
  type AcmeAccount,
  type EabKey,
  type OrderIdentifier,
  type Revocation,
} from '../../domain/index.ts';
import type { LedgerQuotas } from '../../ledger/index.ts';
import { accountActor } from './accounts.ts';
import { placesOf } from './order-grant.ts';
import { refuse } from './problem.ts';
import type { Replaced } from './replacements.ts';
import { instantText } from './views.ts';

/** So many in so many seconds, as a bucket that refills all the time. */
export interface CountLimit {
  readonly count: number;
  readonly seconds: number;
}

export interface LimitSettings {
  readonly ordersPerAccount: CountLimit;
  /** Orders of one account with the same names. */
  readonly ordersPerNames: CountLimit;
  readonly ordersPerTenant: CountLimit;
  /** Failed validations of one name by one account: beyond, the name is paused for the account. */
  readonly failuresPerName: CountLimit;
  /** Changes of an account: of its contacts, or of its key. */
  readonly changesPerAccount: CountLimit;
  /** Of all clients together. */
  readonly ordersPerSecond: number;
  readonly accountsPerSecond: number;
  /** What one address asks without an account. */
  readonly anonymousPerSecond: number;
  /** Requests from one address in the name of one account or key whose signature is wrong. */
  readonly badSignaturesPerSecond: number;
}

/** A limit of this process, or what is counted from the log: failures, and both quotas. */
export type LimitName = keyof LimitSettings | 'quotaOfTenant' | 'quotaOfEabKey';
/** The limits of which each process has buckets of its own. */
type BucketName = Exclude<keyof LimitSettings, 'failuresPerName'>;

export interface LimitDependencies {
  readonly settings: LimitSettings;
  readonly quotas: LedgerQuotas;
  /** What a certificate takes of the quota of its tenant; undefined: there is no quota. */
  readonly placeOfTenant: (name: string) => QuotaPlace | undefined;
  /** Whether an order that replaces a certificate was made before. */
  readonly wasReplaced: (serial: string) => Promise<boolean>;
  /** Whether the window of a certificate for its renewal has begun. */
  readonly isDue: (serial: string) => Promise<boolean>;
  readonly revocations: { revocation(serial: string): Revocation | undefined };
  readonly clock: Clock;
  /** Called with the limit of each refusal. */
  readonly refused: (limit: LimitName) => void;
}

/** What a certificate counts for. */
export type QuotaHolder = Pick<EabKey, 'id' | 'tenant' | 'quotaCertificates' | 'quotaSeconds'>;

export interface NewOrderAsk {
  readonly account: Pick<AcmeAccount, 'id' | 'tenant'>;
  readonly key: QuotaHolder;
  readonly identifiers: readonly OrderIdentifier[];
  readonly replaces: Replaced | null;
}

export interface NewOrderLimits {
  /** @throws AcmeRefusal rateLimited */
  newOrder(ask: NewOrderAsk): Promise<void>;
}

/** Programs wait this out: some give up at a longer one. */
const longestRetrySeconds = 600;
/** A longer wait is one for people: 429. Some clients pause for hours after a 429. */
const longestOverloadSeconds = 3_600;

interface Limit {
  readonly name: LimitName;
  /** What it allows, and what to do: for the text of a refusal. */
  readonly text: string;
  readonly buckets: KeyedBuckets;
  readonly key: string;
}

/**
 * Limits of what clients ask. The buckets guard this process against clients that ask in a loop: so
 * many replicas let through so many times as much, and a restart forgets them. Failed validations
 * and quotas are counted from the log, and renewals from the orders, so that they are the same for
 * all. The transaction that releases a certificate checks quotas again. Owner of its buckets, whose
 * number is bounded.
 */
export class AcmeLimits implements NewOrderLimits {
  readonly #dependencies: LimitDependencies;
  readonly #buckets: Readonly<Record<BucketName, KeyedBuckets>>;

  constructor(dependencies: LimitDependencies) {
    this.#dependencies = dependencies;
    const { settings, clock } = dependencies;
    const of = (rate: Rate): KeyedBuckets => new KeyedBuckets(rate, clock);
    this.#buckets = {
      ordersPerAccount: of(rateOf(settings.ordersPerAccount)),
      ordersPerNames: of(rateOf(settings.ordersPerNames)),
      ordersPerTenant: of(rateOf(settings.ordersPerTenant)),
      changesPerAccount: of(rateOf(settings.changesPerAccount)),
      ordersPerSecond: of(burstOf(settings.ordersPerSecond)),
      accountsPerSecond: of(burstOf(settings.accountsPerSecond)),
      anonymousPerSecond: of(burstOf(settings.anonymousPerSecond)),
      badSignaturesPerSecond: of(burstOf(settings.badSignaturesPerSecond)),
    };
  }

  /** Each limit in one line. */
  text(): string {
    const { settings } = this.#dependencies;
    const lines = Object.entries(settings).map(([name, limit]: [string, number | CountLimit]) =>
      typeof limit === 'number' ? `${name}: ${limit} a second` : `${name}: ${countText(limit)}`,
    );
    return [
      ...lines,
      'quotaOfTenant: what the operators of this CA have set ("meshca tenant show")',
      'quotaOfEabKey: what the operators of this CA have set ("meshca acme key show")',
      'The renewal of a certificate inside its window ("renewalInfo") is free of the limits of',
      'orders, once a certificate, if its order names the certificate in "replaces" and has no',
      'other names.',
      '',
    ].join('\n');
  }

  /**
   * A request without an account: for the directory, a nonce, renewal information, a new account.
   *
   * @param client the address
   * @throws AcmeRefusal rateLimited
   */
  anonymous(client: string): void {
    const { anonymousPerSecond } = this.#dependencies.settings;
    const text = `${anonymousPerSecond} requests a second without an account from one address`;
    this.#takeAll([this.#limit('anonymousPerSecond', holderOf(client), text)]);
  }

  /**
   * A signature is to be verified: whoever sends wrong ones waits, since each takes work. They hold
   * up nobody else at the address. Keys of strangers are bounded by `anonymous` as well, whatever
   * key each of their requests has.
   *
   * @param signer as in `GateLimits`
   * @throws AcmeRefusal rateLimited
   */
  requireSignatures(client: string, signer: string): void {
    const limit = this.#ofBadSignatures(client, signer);
    const waitMs = limit.buckets.waitMs(limit.key);
    if (waitMs > 0) this.#refuse(limit, waitMs);
  }

  /** A signature was wrong. */
  badSignature(client: string, signer: string): void {
    const { buckets, key } = this.#ofBadSignatures(client, signer);
    buckets.take(key);
  }

  /** An account changes its contacts or its key. @throws AcmeRefusal rateLimited */
  accountChange(accountId: string): void {
    this.#takeAll([this.#counted('changesPerAccount', accountId, 'changes of the account')]);
  }

  /** An account is to be made, with a valid external account binding. @throws AcmeRefusal */
  newAccount(): void {
    const { accountsPerSecond } = this.#dependencies.settings;
    this.#takeAll([this.#limit('accountsPerSecond', '', `${accountsPerSecond} a second`)]);
  }

  /** A certificate is renewed in its window once for free. Quotas count every certificate. */
  async newOrder(ask: NewOrderAsk): Promise<void> {
    const { settings } = this.#dependencies;
    const { account, identifiers, replaces } = ask;
    const global = this.#limit('ordersPerSecond', '', `${settings.ordersPerSecond} a second`);
    this.#requireUnpaused(ask);
    this.requirePlace(ask.key);
    if (replaces?.isRenewal === true && (await this.#isFree(replaces.serial, account.id))) {
      this.#takeAll([global]);
      return;
    }
    const names = identifiers.map(({ type, value }) => `${type}:${value}`).sort();
    this.#takeAll([
      global,
      this.#counted('ordersPerTenant', account.tenant, 'orders of the tenant'),
      this.#counted('ordersPerAccount', account.id, 'orders of the account'),
      this.#counted(
        'ordersPerNames',
        // a bucket keeps its key: 100 names would be large ones
        `${account.id} ${sha256Hex(Buffer.from(names.join(' ')))}`,
        'orders of the account with the same names. Keep certificates over restarts of the client',
      ),
    ]);
  }

  /**
   * There is a place in the quotas of the tenant and the EAB key.
   *
   * @throws AcmeRefusal rateLimited, with the time of the next free place
   */
  requirePlace(holder: QuotaHolder): void {
    const { quotas, placeOfTenant, clock, refused } = this.#dependencies;
    const ofTenant = placeOfTenant(holder.tenant);
    const now = clock.now();
    for (const place of [...placesOf(holder), ...(ofTenant === undefined ? [] : [ofTenant])]) {
      const free = nextFreePlace(place, quotas.ends(place.counter), now);
      if (free === undefined) continue;
      const isTenant = place.of === 'tenant';
      refused(isTenant ? 'quotaOfTenant' : 'quotaOfEabKey');
      refuse(
        'rateLimited',
        `the quota of the ${isTenant ? `tenant ${place.rule}` : 'EAB key of the account'} is used: ` +
          `${place.limit} certificates in ${place.perSeconds} s. The next place is free at ` +
          `${instantText(free)}. Look for a client that asks again and again, or let an operator ` +
          'of this CA raise the quota',
        {
          status: 429,
          retryAfterSeconds: Math.max(1, free - now),
          code: isTenant ? 'TENANT_QUOTA_USED' : 'EAB_QUOTA_USED',
        },
      );
    }
  }

  #requireUnpaused({ account, identifiers }: Pick<NewOrderAsk, 'account' | 'identifiers'>): void {
    const { settings, quotas, clock } = this.#dependencies;
    const { count: limit } = settings.failuresPerName;
    const now = clock.now();
    for (const identifier of identifiers) {
      const ends = quotas.ends(failureCounter(account.id, identifier));
      const free = nextFreePlace({ limit }, ends, now);
      if (free === undefined) continue;
      const text =
        `${countText(settings.failuresPerName)}: failed validations of ${identifier.value}, which ` +
        'is paused for this account. Look at "error" of the failed challenges, and mend what it ' +
        'names before the next order';
      this.#refuse({ name: 'failuresPerName', text }, 1_000 * (free - now));
    }
  }

  async #isFree(serial: string, accountId: string): Promise<boolean> {
    const { revocations, isDue, wasReplaced } = this.#dependencies;
    if (await wasReplaced(serial)) return false;
    // whoever revokes by himself could order again and again
    const revokedBy = revocations.revocation(serial)?.revokedBy;
    if (revokedBy === accountActor(accountId) || revokedBy?.startsWith('key ') === true)
      return false;
    return isDue(serial);
  }

  #ofBadSignatures(client: string, signer: string): Limit {
    const { badSignaturesPerSecond } = this.#dependencies.settings;
    const text = `${badSignaturesPerSecond} wrong signatures a second of one account or key from one address`;
    return this.#limit('badSignaturesPerSecond', `${holderOf(client)} ${signer}`, text);
  }

  #counted(
    name: 'ordersPerAccount' | 'ordersPerNames' | 'ordersPerTenant' | 'changesPerAccount',
    key: string,
    what: string,
  ): Limit {
    return this.#limit(name, key, `${countText(this.#dependencies.settings[name])}: ${what}`);
  }

  #limit(name: BucketName, key: string, text: string): Limit {
    return { name, text, buckets: this.#buckets[name], key };
  }

  /** Takes one of each, or nothing. @throws AcmeRefusal */
  #takeAll(limits: readonly Limit[]): void {
    for (const limit of limits) {
      const waitMs = limit.buckets.waitMs(limit.key);
      if (waitMs > 0) this.#refuse(limit, waitMs);
    }
    for (const { buckets, key } of limits) buckets.take(key);
  }

  #refuse({ name, text }: Pick<Limit, 'name' | 'text'>, waitMs: number): never {
    this.#dependencies.refused(name);
    const seconds = Math.max(1, Math.ceil(waitMs / 1_000));
    const isForPeople = seconds > longestOverloadSeconds;
    return refuse(
      'rateLimited',
      `the limit ${name} is reached: ${text}. The next one is possible in ${seconds} s`,
      {
        code: 'RATE_LIMITED',
        retryAfterSeconds: isForPeople ? seconds : Math.min(seconds, longestRetrySeconds),
        status: isForPeople ? 429 : 503,
      },
    );
  }
}

const countText = ({ count, seconds }: CountLimit): string => `${count} in ${seconds} s`;

const rateOf = ({ count, seconds }: CountLimit): Rate => ({
  perSecond: count / seconds,
  burst: count,
});

const burstOf = (perSecond: number): Rate => ({ perSecond, burst: Math.max(1, 10 * perSecond) });
