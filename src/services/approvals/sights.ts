import { setImmediate as turn } from 'node:timers/promises';
import { PkiError } from '../../common/errors/index.ts';
import { agentId, serverId, SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import {
  fixedPrefix,
  type LoggedValues,
  type Proven,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { LedgerApprovals, ObjectLedger } from '../../ledger/index.ts';
import type { EntryStore, Page, PageRequest, RoleStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';

export interface SightDependencies {
  readonly entries: Pick<EntryStore, 'byId' | 'list'>;
  readonly roles: Pick<RoleStore, 'list'>;
  readonly approvals: Pick<LedgerApprovals, 'policy'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'requireRow' | 'expectedCount'>;
  readonly trustDomain: TrustDomain;
}

/** The fields of an entry that decide whether it leads to an admin. */
export type AdminRelevantFields = Pick<
  RegistrationEntry,
  'spiffeId' | 'parentId' | 'admin' | 'downstream'
>;

/**
 * Tells whether an identity, entry or token could make or become an admin or approver: whether it
 * "matters". In doubt it does. Only proven objects are judged, all of them in one pass. Otherwise an
 * attacker who changes or removes a row for a moment could get a join token for the node of an
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
    if (entries.some((entry) => matches(entry, names))) return true;
    const sets = entries.filter(({ parentId }) => normal(parentId) === this.#server);
    if (sets.length === 0) return false;
    const { parents } = await this.#leading(names);
    return sets.some(({ spiffeId }) => parents.has(normal(spiffeId)));
  }

  /**
   * Whether stored entries matter. Unknown IDs do not matter. An entry of which the log knows
   * something else, or more than the database, is refused.
   */
  async storedMatter(ids: readonly string[]): Promise<boolean> {
    const { entries, objects } = this.#dependencies;
    const rows = await Promise.all(
      ids.map(async (id) => objects.requireRow('entry', id, await entries.byId(id))),
    );
    return this.entriesMatter(rows.filter((entry) => entry !== undefined));
  }

  /** Whether any entry beside `stated` matters. An apply with pruning deletes those. */
  async othersMatter(stated: ReadonlySet<string>): Promise<boolean> {
    const names = await this.#names();
    let found = false;
    await this.#provenEntries((entry) => {
      if (!stated.has(entry.id) && mattersItself(entry, names)) found = true;
    });
    return found;
  }

  /**
   * Whether a join token matters. It makes a node the parent of all entries below the node's ID
   * and, by selectors, of all entries below a node set.
   */
  async tokenMatters(agentName: string, nodeSelectors: readonly string[]): Promise<boolean> {
    const { parents, sets } = await this.#leading(await this.#names());
    const parentId = /^[A-Za-z0-9._-]+$/.test(agentName)
      ? agentId(this.#dependencies.trustDomain, agentName).toString()
      : '';
    return (
      parents.has(parentId) || (nodeSelectors.length > 0 && sets.some((set) => parents.has(set)))
    );
  }

  /** `parents`: below these an entry matters. `sets`: the IDs of node sets. */
  async #leading(names: ReadonlySet<string>): Promise<{
    readonly parents: ReadonlySet<string>;
    readonly sets: readonly string[];
  }> {
    const parents = new Set<string>();
    const sets = new Set<string>();
    await this.#provenEntries((entry) => {
      if (mattersItself(entry, names)) parents.add(entry.parentId);
      if (entry.parentId === this.#server) sets.add(entry.spiffeId);
    });
    return { parents, sets: [...sets] };
  }

  #provenEntries(visit: (entry: Proven<RegistrationEntry>) => void): Promise<void> {
    return this.#provenAll('entry', (page) => this.#dependencies.entries.list({}, page), visit);
  }

  /**
   * Visits every object of a kind as the log vouches for it, some of them again. Throws if one
   * differs from the log, or if the log has more of them.
   */
  async #provenAll<Kind extends 'entry' | 'role'>(
    kind: Kind,
    fetch: (page: PageRequest) => Promise<Page<LoggedValues[Kind]>>,
    visit: (item: Proven<LoggedValues[Kind]>) => void,
  ): Promise<void> {
    const { objects } = this.#dependencies;
    let counted = 0;
    let expected = -1;
    // a change between two pages may be counted on one side only
    for (let attempt = 0; attempt < 3 && counted !== expected; attempt += 1) {
      counted = 0;
      for await (const items of pagesOf(fetch)) {
        for (const item of items) visit(objects.require(kind, item));
        counted += items.length;
        // let other calls run: many pages in one turn would delay them
        await turn();
      }
      expected = objects.expectedCount(kind);
    }
    if (counted !== expected)
      throw new PkiError(
        'OBJECT_NOT_IN_LOG',
        `the database has ${counted} objects of kind ${kind}, the audit log ${expected}: ` +
          'the server can not tell whether this call needs approval',
        { detail: { kind } },
      );
  }

  async #names(): Promise<ReadonlySet<string>> {
    const { policy } = await this.#dependencies.approvals.policy();
    const names = new Set(policy.approvers.flatMap(({ identities }) => identities));
    await this.#provenAll(
      'role',
      (page) => this.#dependencies.roles.list(page),
      ({ members }) => {
        for (const member of members) names.add(member);
      },
    );
    return names;
  }
}

const mattersItself = (entry: Proven<RegistrationEntry>, names: ReadonlySet<string>): boolean =>
  entry.admin || entry.downstream || matches(entry, names);

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
