import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { CaaAsk } from '../../common/validation/index.ts';
import { caaAt, type AcmeOrder, type Authorization } from '../../domain/index.ts';
import type { OrderBook } from './order-book.ts';
import { perspectiveText, type Corroborator, type Opinion } from './vantage/corroborator.ts';

export interface CaaRecheckDependencies {
  readonly corroborator: Pick<Corroborator, 'caa' | 'shortfall'>;
  readonly book: Pick<OrderBook, 'change'>;
  /** The URL of an account, as it stands in DNS records. */
  readonly accountUri: (accountId: string) => string;
  readonly settings: {
    /** What was looked at longer ago is looked at again. */
    readonly caaSeconds: number;
    /** False: this server asks no DNS server, so that it issues for names of owners alone. */
    readonly asksDns: boolean;
  };
  readonly clock: Pick<Clock, 'now'>;
}

interface Look {
  readonly authorization: Authorization;
  readonly opinion: Opinion;
}

/** Names at a time. */
const together = 8;

/**
 * The validation method of names that their tenant owns. It is none of ACME: RFC 8657 section 4
 * leaves such names to the CA.
 */
const ownerMethod = 'ca-owner';

/**
 * Looks at CAA records before a certificate is issued, where they were looked at too long ago
 * (RFC 8659 section 3; 8 hours in public CAs). Names that their tenant owns were never looked at
 * before. What was found is in the order, so that it is not looked at again after a crash.
 */
export class CaaRecheck {
  readonly #dependencies: CaaRecheckDependencies;

  constructor(dependencies: CaaRecheckDependencies) {
    this.#dependencies = dependencies;
  }

  isDue(order: AcmeOrder): boolean {
    return this.#due(order).length > 0;
  }

  /**
   * The order as it is afterwards. ACME_CAA_REFUSED; ACME_VANTAGE_SHORT, and after an abort any
   * failure says nothing of the names. What was looked at before a shortfall counts: the next try
   * asks for the others alone.
   */
  async check(order: AcmeOrder, signal: AbortSignal): Promise<Result<AcmeOrder>> {
    const short = this.#dependencies.corroborator.shortfall();
    if (short !== undefined) return fail(short.code, short.message);
    const due = this.#due(order);
    const looked: Look[] = [];
    for (let from = 0; from < due.length; from += together) {
      const looks = await Promise.all(
        due.slice(from, from + together).map(async (authorization) => ({
          authorization,
          opinion: await this.#look(order, authorization, signal),
        })),
      );
      looked.push(...looks.filter(({ opinion }) => opinion.judged.ok));
      const judged = refusalOf(looks);
      if (judged === undefined) continue;
      if (judged.code === 'ACME_VANTAGE_SHORT' && looked.length > 0)
        await this.#record(order, looked);
      return fail(judged.code, judged.detail);
    }
    return ok(await this.#record(order, looked));
  }

  #record(order: AcmeOrder, looked: readonly Look[]): Promise<AcmeOrder> {
    const { book, clock } = this.#dependencies;
    const now = clock.now();
    const places = new Set(
      looked.map(({ authorization }) => order.authorizations.indexOf(authorization)),
    );
    const perspectives = looked.flatMap(({ authorization, opinion }) =>
      opinion.perspectives.map(
        (each) => `${authorization.identifier.value} ${perspectiveText(each)}`,
      ),
    );
    return book.change(
      order,
      (present) =>
        present.stage === 'finalizing'
          ? {
              ...present,
              authorizations: present.authorizations.map((each, place) =>
                places.has(place) ? { ...each, caaAt: now } : each,
              ),
            }
          : undefined,
      {
        what: 'caa-checked',
        detail: {
          names: looked.map(({ authorization }) => authorization.identifier.value),
          ...(perspectives.length === 0 ? {} : { perspectives }),
        },
        rights: [],
      },
    );
  }

  /** An address has no CAA records (RFC 8738 section 7). */
  #due({ authorizations }: AcmeOrder): readonly Authorization[] {
    const { settings, clock } = this.#dependencies;
    const oldest = clock.now() - settings.caaSeconds;
    return authorizations.filter(
      (each) =>
        each.identifier.type === 'dns' &&
        (each.shownBy === 'challenge' || settings.asksDns) &&
        caaAt(each) <= oldest,
    );
  }

  #look(
    { accountId }: AcmeOrder,
    { identifier, wildcard, challenges }: Authorization,
    signal: AbortSignal,
  ): Promise<Opinion> {
    const { corroborator, accountUri } = this.#dependencies;
    const shown = challenges.find(({ status }) => status === 'valid');
    const ask: CaaAsk = {
      name: identifier.value,
      wildcard,
      accountUri: accountUri(accountId),
      method: shown?.type ?? ownerMethod,
    };
    return corroborator.caa(ask, signal);
  }
}

/** A refusal counts before a shortfall: no further look can change it. */
function refusalOf(
  looks: readonly Look[],
):
  | { readonly code: 'ACME_CAA_REFUSED' | 'ACME_VANTAGE_SHORT'; readonly detail: string }
  | undefined {
  const failures = looks.flatMap(({ opinion: { judged, isShort } }) =>
    judged.ok ? [] : [{ isShort, detail: judged.failure.detail }],
  );
  const [first] = [...failures.filter(({ isShort }) => !isShort), ...failures];
  return (
    first && {
      code: first.isShort ? 'ACME_VANTAGE_SHORT' : 'ACME_CAA_REFUSED',
      detail: first.detail,
    }
  );
}
