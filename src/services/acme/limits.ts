import { nextFreePlace, type QuotaPlace } from '../../common/policy/index.ts';
import { holderOf, KeyedBuckets, type Clock, type Rate } from '../../common/runtime/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { AcmeAccount, EabKey, OrderIdentifier, Revocation } from '../../domain/index.ts';
import type { LedgerQuotas } from '../../ledger/index.ts';
import { accountActor } from './accounts.ts';
import { placesOf } from './order-grant.ts';
import { refuse } from './problem.ts';
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
  /** Of all clients together. */
  readonly ordersPerSecond: number;
  readonly accountsPerSecond: number;
  /** What one address asks without an account. */
  readonly anonymousPerSecond: number;
}

/** A limit of this process, or a quota that is counted from the log. */
export type LimitName = keyof LimitSettings | 'quotaOfTenant' | 'quotaOfEabKey';

export interface LimitDependencies {
  readonly settings: LimitSettings;
  readonly quotas: LedgerQuotas;
  /** What a certificate takes of the quota of its tenant; undefined: there is no quota. */
  readonly placeOfTenant: (name: string) => QuotaPlace | undefined;
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
  /** The serial of the certificate that is replaced. */
  readonly replaces: string | null;
}

export interface NewOrderLimits {
  /** @throws AcmeRefusal rateLimited */
  newOrder(ask: NewOrderAsk): Promise<void>;
}

/** Programs wait this out: some give up at a longer one. */
const longestRetrySeconds = 600;
/** A longer wait is one for people: 429. Some clients pause for hours after a 429. */
const longestOverloadSeconds = 3_600;
/** One free renewal a certificate; none is forgotten before the certificate has ended. */
const freeRenewal: Rate = { perSecond: 1 / (400 * 86_400), burst: 1 };

interface Limit {
  readonly name: LimitName;
  /** What it allows, and what to do: for the text of a refusal. */
  readonly text: string;
  readonly buckets: KeyedBuckets;
  readonly key: string;
}

/**
 * Limits of what clients ask. Those of this process guard it against clients that ask in a loop;
 * a restart forgets them. What is granted is limited by quotas, which count from the log, and which
 * the transaction that releases a certificate checks again. Owner of its buckets, whose number is
 * bounded.
 */
export class AcmeLimits implements NewOrderLimits {
  readonly #dependencies: LimitDependencies;
  readonly #buckets: Readonly<Record<keyof LimitSettings, KeyedBuckets>>;
  /** By the serial of the certificate that is renewed. */
  readonly #renewals: KeyedBuckets;

  constructor(dependencies: LimitDependencies) {
    this.#dependencies = dependencies;
    const { settings, clock } = dependencies;
    const of = (rate: Rate): KeyedBuckets => new KeyedBuckets(rate, clock);
    this.#buckets = {
      ordersPerAccount: of(rateOf(settings.ordersPerAccount)),
      ordersPerNames: of(rateOf(settings.ordersPerNames)),
      ordersPerTenant: of(rateOf(settings.ordersPerTenant)),
      failuresPerName: of(rateOf(settings.failuresPerName)),
      ordersPerSecond: of(burstOf(settings.ordersPerSecond)),
      accountsPerSecond: of(burstOf(settings.accountsPerSecond)),
      anonymousPerSecond: of(burstOf(settings.anonymousPerSecond)),
    };
    this.#renewals = of(freeRenewal);
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
      'orders, once a certificate, if its order names the certificate in "replaces".',
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
    if (replaces !== null && (await this.#isFree(replaces, account.id))) {
      this.#takeAll([global]);
      this.#renewals.take(replaces);
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

  /** A validation of this name failed. */
  failed(accountId: string, { type, value }: OrderIdentifier): void {
    this.#buckets.failuresPerName.take(`${accountId} ${type}:${withoutWildcard(value)}`);
  }

  #requireUnpaused({ account, identifiers }: Pick<NewOrderAsk, 'account' | 'identifiers'>): void {
    for (const { type, value } of identifiers) {
      const name = withoutWildcard(value);
      const limit = this.#counted(
        'failuresPerName',
        `${account.id} ${type}:${name}`,
        `failed validations of ${name}, which is paused for this account. Look at "error" of the ` +
          'failed challenges, and mend what it names before the next order',
      );
      const waitMs = limit.buckets.waitMs(limit.key);
      if (waitMs > 0) this.#refuse(limit, waitMs);
    }
  }

  async #isFree(serial: string, accountId: string): Promise<boolean> {
    const { revocations, isDue } = this.#dependencies;
    if (this.#renewals.waitMs(serial) > 0) return false;
    // whoever revokes by himself could order again and again
    const revokedBy = revocations.revocation(serial)?.revokedBy;
    if (revokedBy === accountActor(accountId) || revokedBy?.startsWith('key ') === true)
      return false;
    return isDue(serial);
  }

  #counted(
    name: 'ordersPerAccount' | 'ordersPerNames' | 'ordersPerTenant' | 'failuresPerName',
    key: string,
    what: string,
  ): Limit {
    return this.#limit(name, key, `${countText(this.#dependencies.settings[name])}: ${what}`);
  }

  #limit(name: keyof LimitSettings, key: string, text: string): Limit {
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

/** A wildcard is shown by the name below it. */
const withoutWildcard = (name: string): string => (name.startsWith('*.') ? name.slice(2) : name);

const rateOf = ({ count, seconds }: CountLimit): Rate => ({
  perSecond: count / seconds,
  burst: count,
});

const burstOf = (perSecond: number): Rate => ({ perSecond, burst: Math.max(1, 10 * perSecond) });
