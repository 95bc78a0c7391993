import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../../common/runtime/index.ts';
import {
  orderIdentifiers,
  tenantOfNames,
  type AcmeOrder,
  type AuditValue,
  type ChallengeType,
  type EabKey,
  type NameOwners,
  type NamesSubject,
  type ReservedDnsName,
} from '../../domain/index.ts';
import type { AcmeOrderStore, EabKeyStore } from '../../store/ports/index.ts';
import { keyRight } from './account-keys.ts';
import { requireStanding } from './eab-standing.ts';
import type { AccountRequest } from './gate.ts';
import type { NewOrderLimits } from './limits.ts';
import { orderRights, type OrderBook } from './order-book.ts';
import { authorizationOf, judgeNames, profileOf } from './order-grant.ts';
import { parseNewOrder } from './payloads.ts';
import { accept, refuse } from './problem.ts';
import type { Replacements } from './replacements.ts';

export interface NewOrderDependencies {
  readonly book: Pick<OrderBook, 'eventOf'>;
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'create'>;
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  readonly replacements: Pick<Replacements, 'judge'>;
  readonly limits: NewOrderLimits;
  /** Who owns names. */
  readonly owners: () => NameOwners;
  readonly clock: Clock;
  readonly random: Pick<Random, 'bytes'>;
  readonly reservedDnsNames: readonly ReservedDnsName[];
  /** Offered where an EAB key names none. */
  readonly challengeTypes: readonly ChallengeType[];
  readonly orderSeconds: number;
}

/** Makes orders (RFC 8555 section 7.4) within the EAB key of their account. */
export class NewOrders {
  readonly #dependencies: NewOrderDependencies;

  constructor(dependencies: NewOrderDependencies) {
    this.#dependencies = dependencies;
  }

  async create(request: AccountRequest): Promise<AcmeOrder> {
    const { orders, eabKeys, replacements, limits, clock, book } = this.#dependencies;
    const { account, nonce, signal } = request;
    const asked = accept(parseNewOrder(request.payload));
    const key = await eabKeys.byId(account.eabKeyId);
    if (key === undefined) return refuse('unauthorized', 'the EAB key of the account is gone');
    requireStanding(key, clock.now());
    const names = accept(judgeNames(asked.identifiers, key, this.#dependencies.reservedDnsNames));
    this.#requireGrant(key, names);
    const profile = profileOf(asked.profile, key);
    const replaces =
      asked.replaces === undefined
        ? null
        : await replacements.judge(asked.replaces, account, names);
    await limits.newOrder({ account, key, identifiers: asked.identifiers, replaces });
    const now = clock.now();
    const expiresAt = now + this.#dependencies.orderSeconds;
    const order: AcmeOrder = {
      id: uuidv7(clock.nowMs()),
      accountId: account.id,
      eabKeyId: key.id,
      tenant: key.tenant,
      authorizations: asked.identifiers.map((identifier) =>
        authorizationOf(identifier, {
          key,
          challengeTypes: this.#dependencies.challengeTypes,
          expiresAt,
          token: () => this.#dependencies.random.bytes(32).toString('base64url'),
        }),
      ),
      profile,
      replaces: replaces?.serial ?? null,
      stage: 'open',
      csrDer: null,
      serial: null,
      problem: null,
      expiresAt,
      createdAt: now,
      version: 1,
    };
    const rights = [...orderRights(order), keyRight(request.key)];
    const event = book.eventOf(order, { what: 'created', detail: recordOf(order, request) });
    try {
      await orders.create(order, { nonce, rights, event, signal });
    } catch (thrown) {
      if (replaces === null || PkiError.from(thrown).code !== 'CONFLICT') throw thrown;
      refuse('alreadyReplaced', 'another order replaces this certificate already');
    }
    return order;
  }

  /** The transaction that releases decides: here the client learns before it shows anything. */
  #requireGrant(key: EabKey, { dnsNames }: NamesSubject): void {
    const claim = { by: 'tenant', name: key.tenant } as const;
    unwrap(tenantOfNames(this.#dependencies.owners(), { dnsNames, claim }));
  }
}

const recordOf = (
  order: AcmeOrder,
  { client }: AccountRequest,
): Readonly<Record<string, AuditValue>> => ({
  names: orderIdentifiers(order).map(({ type, value }) => `${type}:${value}`),
  profile: order.profile,
  eabKey: order.eabKeyId,
  tenant: order.tenant,
  proof: order.authorizations[0]?.shownBy ?? 'challenge',
  peer: client,
  ...(order.replaces === null ? {} : { replaces: order.replaces }),
});
