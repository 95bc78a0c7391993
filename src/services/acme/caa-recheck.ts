import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { CaaAsk } from '../../common/validation/index.ts';
import { caaAt, type AcmeOrder, type Authorization } from '../../domain/index.ts';
import type { OrderBook } from './order-book.ts';
import { perspectiveText, type Corroborator, type Opinion } from './vantage/corroborator.ts';

export interface CaaRecheckDependencies {
  readonly corroborator: Pick<Corroborator, 'caa'>;
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
   * failure says nothing of the names.
   */
  async check(order: AcmeOrder, signal: AbortSignal): Promise<Result<AcmeOrder>> {
    const { book, clock } = this.#dependencies;
    const due = this.#due(order);
    const seen: string[] = [];
    for (let from = 0; from < due.length; from += together) {
      const names = due.slice(from, from + together);
      const opinions = await Promise.all(names.map((each) => this.#look(order, each, signal)));
      for (const [at, { judged, perspectives, isShort }] of opinions.entries()) {
        if (!judged.ok)
          return fail(isShort ? 'ACME_VANTAGE_SHORT' : 'ACME_CAA_REFUSED', judged.failure.detail);
        const { value } = (names[at] as Authorization).identifier;
        seen.push(...perspectives.map((each) => `${value} ${perspectiveText(each)}`));
      }
    }
    const now = clock.now();
    const places = new Set(due.map((each) => order.authorizations.indexOf(each)));
    const changed = await book.change(
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
          names: due.map(({ identifier }) => identifier.value),
          ...(seen.length === 0 ? {} : { perspectives: seen }),
        },
        rights: [],
      },
    );
    return ok(changed);
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
