import type { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  afterResponse,
  orderStatusAt,
  type AcmeOrder,
  type Authorization,
  type ChallengeType,
} from '../../domain/index.ts';
import { keyRight } from './account-keys.ts';
import type { AcmeAnswer } from './answer.ts';
import { requirePostAsGet, type AccountRequest } from './gate.ts';
import { orderRights, type OrderBook } from './order-book.ts';
import { parseDeactivation } from './payloads.ts';
import { accept, refuse } from './problem.ts';
import type { Replacements } from './replacements.ts';
import type { AcmeUrls } from './urls.ts';
import { authorizationView, challengeView, orderView, type ViewOptions } from './views.ts';

export interface OrderDependencies {
  readonly book: OrderBook;
  readonly replacements: Pick<Replacements, 'textOf'>;
  /** Takes an order with a challenge that is to be validated. Never throws. */
  readonly validate: (order: AcmeOrder) => void;
  /** Why nothing can be validated now; undefined: it can. */
  readonly shortfall: () => PkiError | undefined;
  readonly urls: AcmeUrls;
  readonly clock: Clock;
  readonly caaIdentities: readonly string[];
}

/** Seconds after which a client asks again for what is under way. Acme.sh gives up above 600. */
const askAgainSeconds = 1;

/** Orders and their authorizations, as their account reads and changes them. */
export class AcmeOrders {
  readonly #dependencies: OrderDependencies;

  constructor(dependencies: OrderDependencies) {
    this.#dependencies = dependencies;
  }

  async read(request: AccountRequest, id: string): Promise<AcmeAnswer> {
    requirePostAsGet(request);
    const order = await this.#dependencies.book.ofAccount(request.account.id, id);
    return this.answer(order);
  }

  /**
   * The answer with an order. Its location is there every time: some clients ask where that says,
   * and nowhere else.
   */
  async answer(order: AcmeOrder, status: 200 | 201 = 200): Promise<AcmeAnswer> {
    const { urls, clock, replacements } = this.#dependencies;
    const now = clock.now();
    const replaces =
      order.replaces === null ? undefined : await replacements.textOf(order.replaces);
    return {
      status,
      location: urls.order(order.id),
      ...(orderStatusAt(order, now) === 'processing' ? { retryAfterSeconds: askAgainSeconds } : {}),
      body: { json: orderView(order, replaces, { urls, now }) },
    };
  }

  /** Reads or deactivates an authorization (RFC 8555 sections 7.5 and 7.5.2). */
  async authorization(request: AccountRequest, id: string, place: string): Promise<AcmeAnswer> {
    const { book } = this.#dependencies;
    const order = await book.ofAccount(request.account.id, id);
    const at = placeIn(order, place);
    if (request.payload.length === 0) return this.#authorizationAnswer(order, at);
    accept(parseDeactivation(request.payload));
    const { nonce, signal } = request;
    const changed = await book.change(
      order,
      (present) => {
        const authorization = present.authorizations[at] as Authorization;
        return authorization.status === 'pending' || authorization.status === 'valid'
          ? withAuthorization(present, at, { ...authorization, status: 'deactivated' })
          : undefined;
      },
      {
        what: 'authorization-deactivated',
        detail: { place: at },
        nonce,
        rights: [{ kind: 'acme-account', id: order.accountId }, keyRight(request.key)],
        signal,
      },
    );
    return this.#authorizationAnswer(changed, at);
  }

  /** Reads a challenge, or has it validated (RFC 8555 section 7.5.1). */
  async challenge(
    request: AccountRequest,
    id: string,
    { place, type }: { readonly place: string; readonly type: string },
  ): Promise<AcmeAnswer> {
    const { book, validate, clock, urls } = this.#dependencies;
    const order = await book.ofAccount(request.account.id, id);
    const at = placeIn(order, place);
    const named = challengeIn(order, at, type);
    let changed = order;
    if (request.payload.length > 0) {
      this.#requireVantage(order, at, named);
      const { nonce, signal } = request;
      changed = await book.change(
        order,
        (present) => {
          const now = clock.now();
          const authorization = present.authorizations[at] as Authorization;
          const asked = afterResponse(authorization, named, now);
          return asked === undefined || orderStatusAt(present, now) !== 'pending'
            ? undefined
            : withAuthorization(present, at, asked);
        },
        {
          what: 'challenge-accepted',
          detail: { place: at, challenge: named },
          nonce,
          rights: [...orderRights(order), keyRight(request.key)],
          signal,
        },
      );
      if (changed !== order) validate(changed);
    }
    const authorization = changed.authorizations[at] as Authorization;
    const challenge = authorization.challenges.find((each) => each.type === named);
    return {
      status: 200,
      links: [{ url: urls.authorization(id, at), rel: 'up' }],
      ...(challenge?.status === 'processing' ? { retryAfterSeconds: askAgainSeconds } : {}),
      body: {
        json: challengeView(
          changed,
          at,
          { authorization, challenge: challenge as NonNullable<typeof challenge> },
          this.#viewOptions(),
        ),
      },
    };
  }

  /** A challenge stays pending while nothing could come of it, so that its client asks again. */
  #requireVantage({ authorizations }: AcmeOrder, place: number, type: ChallengeType): void {
    const { challenges } = authorizations[place] as Authorization;
    const { status } = challenges.find((each) => each.type === type) ?? {};
    const shortfall = this.#dependencies.shortfall();
    if (status === 'pending' && shortfall !== undefined) throw shortfall;
  }

  #authorizationAnswer(order: AcmeOrder, place: number): AcmeAnswer {
    const authorization = order.authorizations[place] as Authorization;
    const isUnderWay =
      authorization.status === 'pending' &&
      authorization.challenges.some(({ status }) => status === 'processing');
    return {
      status: 200,
      ...(isUnderWay ? { retryAfterSeconds: askAgainSeconds } : {}),
      body: { json: authorizationView(order, place, authorization, this.#viewOptions()) },
    };
  }

  #viewOptions(): ViewOptions {
    const { urls, clock, caaIdentities } = this.#dependencies;
    return { urls, now: clock.now(), caaIdentities };
  }
}

const withAuthorization = (
  order: AcmeOrder,
  place: number,
  authorization: Authorization,
): AcmeOrder => ({
  ...order,
  authorizations: order.authorizations.map((each, at) => (at === place ? authorization : each)),
});

function placeIn(order: AcmeOrder, place: string): number {
  const at = /^(0|[1-9]\d{0,2})$/.test(place) ? Number(place) : -1;
  return at >= 0 && at < order.authorizations.length
    ? at
    : refuse('malformed', 'the order has no such authorization', { status: 404 });
}

function challengeIn(order: AcmeOrder, place: number, type: string): ChallengeType {
  const challenge = order.authorizations[place]?.challenges.find((each) => each.type === type);
  return (
    challenge?.type ??
    refuse('malformed', 'the authorization has no such challenge', { status: 404 })
  );
}
