import { setImmediate as turn } from 'node:timers/promises';
import { PkiError } from '../../common/errors/index.ts';
import { agentId, serverId, SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import { fixedPrefix, type LoggedValues, type RegistrationEntry } from '../../domain/index.ts';
import type { LedgerApprovals, ObjectLedger } from '../../ledger/index.ts';
import type { EntryStore, Page, PageRequest, RoleStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';

export interface SightDependencies {
  readonly entries: Pick<EntryStore, 'byId' | 'byParents' | 'nodeSets' | 'list'>;
  readonly roles: Pick<RoleStore, 'list'>;
  readonly approvals: Pick<LedgerApprovals, 'policy'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'expectedCount'>;
  readonly trustDomain: TrustDomain;
}

/** The fields of an entry that decide whether it leads to an admin. */
export type AdminRelevantFields = Pick<
  RegistrationEntry,
  'spiffeId' | 'parentId' | 'admin' | 'downstream'
>;

/**
 * Tells whether an identity, entry or token could make or become an admin or approver: whether it
 * "matters". In doubt it does. A "no" may rest on the absence of rows only if the log agrees.
 * Otherwise an attacker who removes a row for a moment could get a join token for the node of an
 * admin. A text that is not a SPIFFE ID is left to the service, which refuses it.
 */
export class ApprovalSights {
  readonly #dependencies: SightDependencies;
  readonly #server: string;

  constructor(dependencies: SightDependencies) {
    this.#dependencies = dependencies;
    this.#server = serverId(dependencies.trustDomain).toString();
  }

  /** Whether a role has this ID as a member, or an approver is known by it. */
  async idMatters(spiffeId: string): Promise<boolean> {
    return (await this.#names()).has(normal(spiffeId));
  }

  async entriesMatter(entries: readonly AdminRelevantFields[]): Promise<boolean> {
    if (entries.some(({ admin, downstream }) => admin || downstream)) return true;
    const names = await this.#names();
    for (const entry of entries) {
      if (matches(entry, names)) return true;
      if (
        normal(entry.parentId) === this.#server &&
        (await this.#leadsOn(normal(entry.spiffeId), names))
      )
        return true;
    }
    return false;
  }

  /** Whether stored entries matter. Unknown IDs do not matter. */
  async storedMatter(ids: readonly string[]): Promise<boolean> {
    const entries = await Promise.all(ids.map((id) => this.#dependencies.entries.byId(id)));
    return this.entriesMatter(entries.filter((entry) => entry !== undefined));
  }

  /** Whether any entry beside `stated` matters. An apply with pruning deletes those. */
  async othersMatter(stated: ReadonlySet<string>): Promise<boolean> {
    const names = await this.#names();
    return this.#some(
      (page) => this.#dependencies.entries.list({}, page),
      (entry) =>
        !stated.has(entry.id) && (entry.admin || entry.downstream || matches(entry, names)),
    );
  }

  /**
   * Whether a join token matters. It makes a node the parent of all entries below the node's ID
   * and, by selectors, of all entries below a node set.
   */
  async tokenMatters(agentName: string, nodeSelectors: readonly string[]): Promise<boolean> {
    const names = await this.#names();
    const parentId = /^[A-Za-z0-9._-]+$/.test(agentName)
      ? agentId(this.#dependencies.trustDomain, agentName).toString()
      : '';
    if (parentId !== '' && (await this.#leadsOn(parentId, names))) return true;
    if (nodeSelectors.length === 0) return false;
    for (const { spiffeId } of await this.#dependencies.entries.nodeSets(this.#server))
      if (await this.#under(spiffeId, names)) return true;
    return false;
  }

  /**
   * Whether an entry below this parent matters. Before a "no", every entry is compared with the
   * log.
   */
  async #leadsOn(parentId: string, names: ReadonlySet<string>): Promise<boolean> {
    if (await this.#under(parentId, names)) return true;
    await this.#requireAll('entry', (page) => this.#dependencies.entries.list({}, page));
    return false;
  }

  #under(parentId: string, names: ReadonlySet<string>): Promise<boolean> {
    return this.#some(
      (page) => this.#dependencies.entries.byParents([parentId], page),
      (entry) => entry.admin || entry.downstream || matches(entry, names),
    );
  }

  async #requireAll<Kind extends 'entry' | 'role'>(
    kind: Kind,
    fetch: (page: PageRequest) => Promise<Page<LoggedValues[Kind]>>,
    also: (item: LoggedValues[Kind]) => void = () => {},
  ): Promise<void> {
    let counted = 0;
    let expected = -1;
    // a change between two pages may be counted on one side only
    for (let attempt = 0; attempt < 3 && counted !== expected; attempt += 1) {
      counted = 0;
      await this.#some(fetch, (item) => {
        this.#dependencies.objects.require(kind, item);
        also(item);
        counted += 1;
        return false;
      });
      expected = this.#dependencies.objects.expectedCount(kind);
    }
    if (counted !== expected)
      throw new PkiError(
        'OBJECT_NOT_IN_LOG',
        `the database has ${counted} objects of kind ${kind}, the audit log ${expected}: the server can not tell whether this call needs approval`,
        { detail: { kind } },
      );
  }

  async #names(): Promise<ReadonlySet<string>> {
    const { policy } = await this.#dependencies.approvals.policy();
    const names = new Set(policy.approvers.flatMap(({ identities }) => identities));
    await this.#requireAll(
      'role',
      (page) => this.#dependencies.roles.list(page),
      ({ members }) => {
        for (const member of members) names.add(member);
      },
    );
    return names;
  }

  async #some<T>(
    fetch: (page: { readonly size: number; readonly after?: string }) => Promise<Page<T>>,
    holds: (item: T) => boolean,
  ): Promise<boolean> {
    for await (const items of pagesOf(fetch)) {
      if (items.some(holds)) return true;
      // let other calls run: many pages in one turn would delay them
      await turn();
    }
    return false;
  }
}

function matches(
  { spiffeId }: Pick<AdminRelevantFields, 'spiffeId'>,
  names: ReadonlySet<string>,
): boolean {
  if (!/[{}]/.test(spiffeId)) return names.has(normal(spiffeId));
  const prefix = fixedPrefix(spiffeId);
  return [...names].some((name) => name.startsWith(prefix));
}

const normal = (text: string): string => {
  const id = SpiffeId.parse(text);
  return id.ok ? id.value.toString() : text;
};
