import { selectorText } from '../common/spiffe/index.ts';
import type { Agent } from './agent.ts';
import type { RegistrationEntry } from './entry.ts';
import type { Proven } from './proven.ts';

/**
 * The parents under which an agent finds its entries: its own ID, and the IDs of all node sets
 * whose selectors the agent has. A node set is an entry with the server as parent. The own ID comes
 * first, the others are sorted.
 */
export function parentsOf(
  agent: Proven<Agent>,
  nodeSets: readonly Proven<RegistrationEntry>[],
  now: number,
): readonly string[] {
  const agentSelectors = new Set(agent.selectors.map(selectorText));
  const sets = nodeSets
    .filter(
      (set) =>
        set.selectors.length > 0 &&
        (set.expiresAt === 0 || set.expiresAt > now) &&
        set.selectors.every((selector) => agentSelectors.has(selectorText(selector))),
    )
    .map(({ spiffeId }) => spiffeId);
  return [agent.spiffeId, ...[...new Set(sets)].sort()];
}
