import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import type { AcmeAccount } from '../../domain/index.ts';
import type { LedgerAcme } from '../../ledger/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import { visiblePage, type Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage, checkText } from '../requests.ts';
import type { AccountFilter, AcmeAccounts } from './operator-acme.ts';

export interface AccountDependencies {
  readonly accounts: LedgerAcme['accounts'];
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

/** Accounts of ACME, for operators with a role over their tenant. */
export class AccountService implements AcmeAccounts {
  readonly #dependencies: AccountDependencies;

  constructor(dependencies: AccountDependencies) {
    this.#dependencies = dependencies;
  }

  list(
    caller: OperatorCaller,
    { tenant, eabKeyId, status }: AccountFilter,
    page: PageRequest,
  ): Promise<Page<AcmeAccount>> {
    return this.#refusing(caller, 'ListAccounts', tenant.slice(0, 64), async () => {
      const rights = await this.#dependencies.access.of(caller);
      rights.require('acme.read', { kind: 'none' });
      const filter = {
        ...(tenant === '' ? {} : { tenant }),
        ...(eabKeyId === '' ? {} : { eabKeyId }),
        ...(status === '' ? {} : { status }),
      };
      return visiblePage(
        (request) => this.#dependencies.accounts.list(filter, request),
        ({ tenant: name }) => rights.permits('acme.read', { kind: 'tenant', name }),
        checkPage(page),
      );
    });
  }

  get(caller: OperatorCaller, id: string): Promise<AcmeAccount> {
    return this.#refusing(caller, 'GetAccount', id.slice(0, 64), () =>
      this.#found(caller, 'acme.read', id),
    );
  }

  end(caller: OperatorCaller, id: string, reason: string): Promise<AcmeAccount> {
    return this.#refusing(caller, 'EndAccount', id.slice(0, 64), async () => {
      const { accounts, clock } = this.#dependencies;
      const text = checkText('reason', reason, 500);
      const account = await this.#found(caller, 'acme.write', id);
      if (account.status !== 'valid') return account;
      const ended: AcmeAccount = {
        ...account,
        status: 'revoked',
        version: account.version + 1,
        updatedAt: clock.now(),
      };
      await accounts.update(ended, {
        rights: [],
        event: {
          timeMs: clock.nowMs(),
          actor: actorOf(caller),
          kind: 'acme.account.ended',
          subject: account.id,
          detail: { tenant: account.tenant, eabKey: account.eabKeyId, reason: text },
        },
      });
      return ended;
    });
  }

  /** Who may not see an account gets the answer for one that is not there. */
  async #found(
    caller: OperatorCaller,
    verb: 'acme.read' | 'acme.write',
    id: string,
  ): Promise<AcmeAccount> {
    const rights = await this.#dependencies.access.of(caller);
    rights.require(verb, { kind: 'none' });
    const account = await this.#dependencies.accounts.byId(id);
    const target = { kind: 'tenant', name: account?.tenant ?? '' } as const;
    if (
      account === undefined ||
      !(rights.permits(verb, target) || rights.permits('acme.read', target))
    )
      throw new PkiError(
        'NOT_FOUND',
        `there is no ACME account ${JSON.stringify(id.slice(0, 64))}`,
      );
    rights.require(verb, target);
    return account;
  }

  #refusing<T>(
    caller: OperatorCaller,
    operation: OperationName,
    subject: string,
    work: () => Promise<T>,
  ): Promise<T> {
    return refusing(this.#dependencies.refusals, { caller, operation, subject }, work);
  }
}
