import { joinedAgentId, serverId, SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import { fixedPrefix, type RegistrationEntry } from '../../domain/index.ts';
import type { ApprovalStore } from '../../store/approval-contract.ts';
import type { EntryStore, Page, RoleStore } from '../../store/contract.ts';

export interface SightDeps {
  readonly entries: Pick<EntryStore, 'byId' | 'byParents' | 'nodeSets' | 'list'>;
  readonly roles: Pick<RoleStore, 'list'>;
  readonly approvals: Pick<ApprovalStore, 'policy'>;
  readonly trustDomain: TrustDomain;
}

/** What of an entry decides whether it leads to an admin. */
export type EntrySight = Pick<RegistrationEntry, 'spiffeId' | 'parentId' | 'admin' | 'downstream'>;

/**
 * Whether an identity, entry or token could make or become an admin or approver. Decided on the safe side: where it can not
 * be told, it does. What is no SPIFFE ID is left to the service, which refuses it.
 */
export class ApprovalSights {
  readonly #deps: SightDeps;
  readonly #server: string;

  constructor(deps: SightDeps) {
    this.#deps = deps;
    this.#server = serverId(deps.trustDomain).toString();
  }

  /** Whether a role names it, or an approver is known by it. */
  async idMatters(spiffeId: string): Promise<boolean> {
    return (await this.#names()).has(normal(spiffeId));
  }

  async entriesMatter(entries: readonly EntrySight[]): Promise<boolean> {
    if (entries.some(({ admin, downstream }) => admin || downstream)) return true;
    const names = await this.#names();
    for (const entry of entries) {
      if (matches(entry, names)) return true;
      if (normal(entry.parentId) === this.#server && (await this.#leadsOn(normal(entry.spiffeId), names))) return true;
    }
    return false;
  }

  /** The same for entries as they are now; unknown IDs count for nothing. */
  async storedMatter(ids: readonly string[]): Promise<boolean> {
    const found = await Promise.all(ids.map((id) => this.#deps.entries.byId(id)));
    return this.entriesMatter(found.filter((entry) => entry !== undefined));
  }

  /** Whether any entry beside `stated` matters: for what a pruning apply takes away. */
  async othersMatter(stated: ReadonlySet<string>): Promise<boolean> {
    const names = await this.#names();
    return this.#some((page) => this.#deps.entries.list({}, page), (entry) => !stated.has(entry.id) && (entry.admin || entry.downstream || matches(entry, names)));
  }

  /** A token makes a node the parent of whatever stands under its ID or, by selectors, under a node set. */
  async tokenMatters(agentName: string, nodeSelectors: readonly string[]): Promise<boolean> {
    const names = await this.#names();
    const agentId = /^[A-Za-z0-9._-]+$/.test(agentName) ? joinedAgentId(this.#deps.trustDomain, agentName).toString() : '';
    if (agentId !== '' && (await this.#leadsOn(agentId, names))) return true;
    if (nodeSelectors.length === 0) return false;
    for (const { spiffeId } of await this.#deps.entries.nodeSets(this.#server)) if (await this.#leadsOn(spiffeId, names)) return true;
    return false;
  }

  /** Whether an entry under this parent matters. */
  #leadsOn(parentId: string, names: ReadonlySet<string>): Promise<boolean> {
    return this.#some((page) => this.#deps.entries.byParents([parentId], page), (entry) => entry.admin || entry.downstream || matches(entry, names));
  }

  async #names(): Promise<ReadonlySet<string>> {
    const { policy } = await this.#deps.approvals.policy();
    const names = new Set(policy.approvers.flatMap(({ identities }) => identities));
    await this.#some((page) => this.#deps.roles.list(page), ({ members }) => {
      for (const member of members) names.add(member);
      return false;
    });
    return names;
  }

  async #some<T>(fetch: (page: { readonly size: number; readonly after?: string }) => Promise<Page<T>>, holds: (item: T) => boolean): Promise<boolean> {
    let after: string | undefined;
    do {
      const page: Page<T> = await fetch(after === undefined ? { size: 1000 } : { size: 1000, after });
      if (page.items.some(holds)) return true;
      after = page.next;
    } while (after !== undefined);
    return false;
  }
}

function matches({ spiffeId }: Pick<EntrySight, 'spiffeId'>, names: ReadonlySet<string>): boolean {
  if (!/[{}]/.test(spiffeId)) return names.has(normal(spiffeId));
  const prefix = fixedPrefix(spiffeId);
  return [...names].some((name) => name.startsWith(prefix));
}

const normal = (text: string): string => {
  const id = SpiffeId.parse(text);
  return id.ok ? id.value.toString() : text;
};
