import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  checkDelegation,
  judgeDelegationNames,
  patternReach,
  type Delegation,
  type Target,
} from '../../domain/index.ts';
import type { DelegationStore, Page, PageRequest } from '../../store/ports/index.ts';
import { visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import type { DelegationInput, Delegations } from '../services.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage, checkText } from '../requests.ts';
import { coversNamesOfTenants } from '../tenants/names-of-tenants.ts';
import type { ServiceSettings } from '../settings.ts';
import { assertIssuable } from './revocable.ts';

export interface DelegationDependencies {
  readonly delegations: Pick<DelegationStore, 'byId' | 'create' | 'list' | 'revoke'>;
  readonly callers: Pick<CallerRegistry, 'invalidate'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** What control planes may sign. An operator can delegate only what his own roles cover. */
export class DelegationService implements Delegations {
  readonly #dependencies: DelegationDependencies;

  constructor(dependencies: DelegationDependencies) {
    this.#dependencies = dependencies;
  }

  create(
    caller: OperatorCaller,
    input: DelegationInput,
    signal?: AbortSignal,
  ): Promise<Delegation> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'CreateDelegation', subject: input.clientId },
      async () => {
        const { clock, settings } = this.#dependencies;
        const now = clock.now();
        const draft = checkDelegation(input, settings, now);
        assertIssuable(draft.profile, settings);
        const { access } = this.#dependencies;
        const rights = await access.of(caller);
        requireReach(rights, draft);
        const { owners } = access;
        // roles limit patterns of DNS names by tenants alone, and addresses not at all
        const names = { owners, dnsNames: draft.dnsPatterns };
        if (draft.ipRanges.length > 0 || !coversNamesOfTenants(rights, 'delegation.write', names))
          rights.requireEverything(
            'a delegation with IP ranges, or DNS patterns that are not of a tenant of the caller',
          );
        unwrap(judgeDelegationNames(owners, draft));
        const delegation: Delegation = {
          ...draft,
          id: uuidv7(clock.nowMs()),
          revokedAt: null,
          createdAt: now,
          createdBy: actorOf(caller),
        };
        await this.#dependencies.delegations.create(
          delegation,
          {
            timeMs: clock.nowMs(),
            actor: actorOf(caller),
            kind: 'delegation.created',
            subject: delegation.clientId,
            detail: {
              delegation: delegation.id,
              patterns: delegation.patterns,
              maxTtlSeconds: delegation.maxTtlSeconds,
              keyTypes: delegation.keyTypes,
              dnsPatterns: delegation.dnsPatterns,
              ipRanges: delegation.ipRanges,
              wildcards: delegation.wildcards,
              profile: delegation.profile,
              expiresAt: delegation.expiresAt,
            },
          },
          signal,
        );
        this.#dependencies.callers.invalidate();
        return delegation;
      },
    );
  }

  list(
    caller: OperatorCaller,
    filter: { readonly includeRevoked: boolean },
    page: PageRequest,
  ): Promise<Page<Delegation>> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ListDelegations' },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('delegation.read', { kind: 'none' });
        return visiblePage(
          (next) => this.#dependencies.delegations.list(filter, next),
          ({ clientId }) => rights.permits('delegation.read', { kind: 'id', spiffeId: clientId }),
          checkPage(page),
        );
      },
    );
  }

  revoke(caller: OperatorCaller, id: string, reason: string): Promise<Delegation> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'RevokeDelegation', subject: id.slice(0, 64) },
      async () => {
        const { clock } = this.#dependencies;
        const text = checkText('reason', reason, 500);
        const rights = await this.#dependencies.access.of(caller);
        rights.require('delegation.write', { kind: 'none' });
        const delegation = await this.#dependencies.delegations.byId(id);
        if (delegation === undefined)
          throw new PkiError(
            'NOT_FOUND',
            `there is no delegation ${JSON.stringify(id.slice(0, 64))}`,
          );
        // deletion needs a right on the client only, since it never adds power
        rights.require('delegation.write', { kind: 'id', spiffeId: delegation.clientId });
        const revoked = await this.#dependencies.delegations.revoke(id, clock.now(), {
          timeMs: clock.nowMs(),
          actor: actorOf(caller),
          kind: 'delegation.revoked',
          subject: delegation.clientId,
          detail: { delegation: id, reason: text },
        });
        this.#dependencies.callers.invalidate();
        return revoked;
      },
    );
  }
}

function requireReach(
  rights: OperatorRights,
  delegation: Pick<Delegation, 'clientId' | 'patterns'>,
): void {
  rights.require('delegation.write', { kind: 'id', spiffeId: delegation.clientId });
  for (const pattern of delegation.patterns) rights.require('delegation.write', reachOf(pattern));
}

function reachOf(pattern: string): Target {
  const { prefix, exact } = patternReach(pattern);
  return exact ? { kind: 'id', spiffeId: prefix } : { kind: 'below', prefix };
}
