import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import {
  invalid,
  type Evidence,
  type Judged,
  type ValidationFailure,
} from '../../common/validation/index.ts';
import {
  afterShortfall,
  afterVerdict,
  authorizationAt,
  challengeFailed,
  eabKeyEnd,
  failureCounter,
  orderIdentifiers,
  placeText,
  type AcmeOrder,
  type Authorization,
  type AuditEvent,
  type ChallengeType,
  type OrderIdentifier,
  type StoredProblem,
} from '../../domain/index.ts';
import { isNotInLog } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { AcmeAccountStore, AcmeOrderStore, EabKeyStore } from '../../store/ports/index.ts';
import { keyOf, ValidationQueue } from './validation-queue.ts';
import { perspectiveText, type Corroborator, type Opinion } from './vantage/corroborator.ts';

export interface ValidationsDependencies {
  readonly orders: Pick<AcmeOrderStore, 'byId' | 'validating' | 'update'>;
  readonly accounts: Pick<AcmeAccountStore, 'byId'>;
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  readonly validator: Pick<Corroborator, 'validate'>;
  readonly settings: {
    readonly concurrent: number;
    /** Of `concurrent`. */
    readonly perAccount: number;
    /** How long an authorization is valid. */
    readonly authorizationSeconds: number;
    /** How long a failure counts for the pause of its name. */
    readonly failureSeconds: number;
  };
  /** The URL of an account, as it stands in DNS records. */
  readonly accountUri: (accountId: string) => string;
  /** True while the database is not trusted: nothing is validated then. */
  readonly held: () => boolean;
  /** The result of each challenge: `valid`, or the type of the problem. */
  readonly judged: (type: ChallengeType, result: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Item {
  readonly accountId: string;
  readonly orderId: string;
  readonly place: number;
  readonly type: ChallengeType;
}

interface Again {
  readonly afterMs: number;
  /** Undefined: the time is over, and the item waits or runs. */
  cancel: (() => void) | undefined;
}

/** What another process left, or what found no place, is taken up so often. */
const lookAgainMs = 60_000;
/** What waits for vantage agents is tried again after this time, which doubles up to the second. */
const shortAgainMs = 10_000;
const longestAgainMs = 300_000;
const pageOfOrders = 100;
const maximumWaiting = 10_000;
/** A verdict meets other changes of its order: each of them is a new version. */
const maximumConflicts = 20;

/**
 * Validates the challenges that accounts asked for, and writes each verdict. The database says what
 * is to be done, so that a restart, or another replica, goes on; a challenge that two of them
 * validate gets the first verdict. Owner of what waits and runs here.
 */
export class Validations {
  readonly #dependencies: ValidationsDependencies;
  readonly #queue: ValidationQueue<Item>;
  /** The last write of each order: verdicts of one order follow each other. */
  readonly #writes = new Map<string, Promise<unknown>>();
  readonly #running = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  #cancelLook: () => void = () => {};
  /** By the key of the item: what too few vantage agents have looked at so far. */
  readonly #again = new Map<string, Again>();
  #looking: Promise<void> | undefined;

  constructor(dependencies: ValidationsDependencies) {
    this.#dependencies = dependencies;
    const { concurrent, perAccount } = dependencies.settings;
    this.#queue = new ValidationQueue({ concurrent, perAccount, waiting: maximumWaiting });
  }

  /** Takes up what is to be validated, and looks again from time to time. */
  start(): Promise<void> {
    return (this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#ended.signal.aborted) return;
      this.#cancelLook = this.#dependencies.clock.after(lookAgainMs, () => void this.start());
    }));
  }

  /** An order of which a challenge was just asked to be validated. */
  take(order: AcmeOrder): void {
    if (this.#ended.signal.aborted) return;
    for (const item of itemsOf(order))
      if (this.#again.get(keyOf(item))?.cancel === undefined) this.#queue.add(item);
    this.#pump();
  }

  /** Nothing is dialled from then on. What was under way is validated after the next start. */
  async close(): Promise<void> {
    this.#ended.abort();
    this.#cancelLook();
    for (const { cancel } of this.#again.values()) cancel?.();
    this.#again.clear();
    this.#queue.clear();
    await this.#looking;
    await Promise.all(this.#running);
  }

  async #look(): Promise<void> {
    const { orders, held, logger } = this.#dependencies;
    if (held()) return;
    try {
      const pages = pagesOf((request) => orders.validating(request), { size: pageOfOrders });
      for await (const page of pages) {
        for (const order of page) this.take(order);
        if (this.#ended.signal.aborted || this.#queue.waiting >= maximumWaiting) return;
      }
    } catch (thrown) {
      logger.warn({ ...errorFields(thrown) }, 'challenges that wait were not read');
    }
  }

  #pump(): void {
    if (this.#ended.signal.aborted || this.#dependencies.held()) return;
    for (let item = this.#queue.next(); item !== undefined; item = this.#queue.next()) {
      const next = item;
      const running = this.#judge(next)
        .catch((thrown: unknown) => {
          this.#dependencies.logger.warn(
            { order: next.orderId, ...errorFields(thrown) },
            'a challenge was not judged, and is validated later',
          );
        })
        .finally(() => {
          this.#queue.done(next);
          this.#running.delete(running);
          this.#pump();
        });
      this.#running.add(running);
    }
  }

  async #judge(item: Item): Promise<void> {
    const { orders, judged } = this.#dependencies;
    const order = await orders.byId(item.orderId);
    const authorization = order === undefined ? undefined : this.#asked(order, item);
    if (order === undefined || authorization === undefined) {
      this.#again.delete(keyOf(item));
      return;
    }
    const opinion = await this.#validate(order, authorization, item).catch(failureOfAltered);
    const { judged: result } = opinion;
    // a failure at the end of this process says nothing of the host
    if (this.#ended.signal.aborted && !result.ok) return;
    if (opinion.isShort) this.#tryAgain(item);
    else this.#again.delete(keyOf(item));
    const before = this.#writes.get(item.orderId);
    const write = (before ?? Promise.resolve()).then(() => this.#write(item, opinion));
    const settled = write.catch(() => {});
    this.#writes.set(item.orderId, settled);
    try {
      if ((await write) && !opinion.isShort)
        judged(item.type, result.ok ? 'valid' : result.failure.type);
    } finally {
      if (this.#writes.get(item.orderId) === settled) this.#writes.delete(item.orderId);
    }
  }

  #tryAgain(item: Item): void {
    if (this.#ended.signal.aborted) return;
    const key = keyOf(item);
    const before = this.#again.get(key);
    before?.cancel?.();
    const afterMs =
      before === undefined ? shortAgainMs : Math.min(2 * before.afterMs, longestAgainMs);
    const cancel = this.#dependencies.clock.after(afterMs, () => {
      again.cancel = undefined;
      // without a place the next look takes it up
      if (!this.#queue.add(item)) this.#again.delete(key);
      this.#pump();
    });
    const again: Again = { afterMs, cancel };
    this.#again.set(key, again);
  }

  /** The authorization, while its challenge is to be judged. */
  #asked(order: AcmeOrder, { place, type }: Item): Authorization | undefined {
    const now = this.#dependencies.clock.now();
    const authorization = order.authorizations[place];
    return order.stage === 'open' &&
      now <= order.expiresAt &&
      authorization !== undefined &&
      authorizationAt(authorization, now) === 'pending' &&
      authorization.challenges.some((each) => each.type === type && each.status === 'processing')
      ? authorization
      : undefined;
  }

  /** Nothing is dialled for an account or EAB key that has ended. */
  async #validate(
    { accountId, eabKeyId }: AcmeOrder,
    { identifier, wildcard, token }: Authorization,
    { type }: Item,
  ): Promise<Opinion> {
    const { accounts, eabKeys, validator, accountUri, clock } = this.#dependencies;
    const account = await accounts.byId(accountId);
    const eabKey = await eabKeys.byId(eabKeyId);
    const now = clock.now();
    if (account?.status !== 'valid')
      return ownOpinion(invalid('unauthorized', 'the account has ended. Make another one'));
    if (eabKey === undefined || eabKeyEnd(eabKey, now) !== undefined)
      return ownOpinion(
        invalid(
          'unauthorized',
          'the EAB key of the account has ended. Ask the operators of this CA for another one',
        ),
      );
    return validator.validate(
      {
        type,
        identifier,
        wildcard,
        token,
        keyAuthorization: `${token}.${account.thumbprint}`,
        accountUri: accountUri(account.id),
      },
      this.#ended.signal,
    );
  }

  /** False: it was decided meanwhile. */
  async #write(item: Item, opinion: Opinion): Promise<boolean> {
    const { orders, settings, clock } = this.#dependencies;
    for (let conflicts = 0; ; conflicts += 1) {
      const order = await orders.byId(item.orderId);
      const authorization = order === undefined ? undefined : this.#asked(order, item);
      if (order === undefined || authorization === undefined) return false;
      const now = clock.now();
      const after = authorizationAfter(authorization, item.type, opinion, {
        now,
        validSeconds: settings.authorizationSeconds,
      });
      if (after === undefined) return false;
      try {
        await orders.update(
          {
            ...order,
            version: order.version + 1,
            authorizations: order.authorizations.with(item.place, after),
          },
          {
            rights: [],
            event: {
              timeMs: clock.nowMs(),
              ...verdictEvent(order, item, opinion, now + settings.failureSeconds),
            },
          },
        );
        return true;
      } catch (thrown) {
        const conflict = thrown instanceof PkiError && thrown.code === 'CONFLICT';
        if (!conflict || conflicts >= maximumConflicts) throw thrown;
      }
    }
  }
}

/** What was altered past the log vouches for nothing. @throws whatever else it was */
function failureOfAltered(thrown: unknown): Opinion {
  if (!isNotInLog(thrown)) throw thrown;
  return ownOpinion(
    invalid('serverInternal', 'the account or its EAB key differs from the audit log'),
  );
}

const ownOpinion = (judged: Judged<Evidence>): Opinion => ({
  ...{ judged, perspectives: [], isShort: false },
});

function authorizationAfter(
  authorization: Authorization,
  type: ChallengeType,
  { judged, perspectives, isShort }: Opinion,
  times: { readonly now: number; readonly validSeconds: number },
): Authorization | undefined {
  const { now } = times;
  if (judged.ok)
    return afterVerdict(authorization, type, { valid: true, at: now, perspectives }, times);
  const problem = storedProblem(judged.failure);
  return isShort
    ? afterShortfall(authorization, type, { problem, perspectives }, now)
    : afterVerdict(authorization, type, { valid: false, problem, perspectives }, times);
}

const storedProblem = ({ type, detail }: ValidationFailure): StoredProblem => ({ type, detail });

function itemsOf({ id, accountId, authorizations }: AcmeOrder): readonly Item[] {
  return authorizations.flatMap(({ status, challenges }, place) =>
    status === 'pending'
      ? challenges
          .filter((challenge) => challenge.status === 'processing')
          .map(({ type }) => ({ accountId, orderId: id, place, type }))
      : [],
  );
}

/**
 * What was dialled or asked, and what came of it; never what a host answered. `until`: how long a
 * failure counts.
 */
function verdictEvent(
  order: AcmeOrder,
  { place, type }: Item,
  { judged: result, perspectives, isShort }: Opinion,
  until: number,
): Omit<AuditEvent, 'timeMs'> {
  const identifier = orderIdentifiers(order)[place] as OrderIdentifier;
  const { type: kind, value } = identifier;
  return {
    actor: 'server',
    kind: result.ok
      ? 'acme-challenge.validated'
      : isShort
        ? 'acme-challenge.waits'
        : challengeFailed,
    subject: order.id,
    detail: {
      account: order.accountId,
      tenant: order.tenant,
      identifier: `${kind}:${value}`,
      challenge: type,
      ...(perspectives.length === 0 ? {} : { perspectives: perspectives.map(perspectiveText) }),
      ...(result.ok
        ? { seenAt: result.value.seenAt }
        : {
            problem: result.failure.type,
            reason: result.failure.detail,
            ...(isShort
              ? {}
              : { quotaPlaces: [placeText(failureCounter(order.accountId, identifier), until)] }),
          }),
    },
  };
}
