import type { AgentSession } from './session.ts';

/** Sessions, indexed by the parents whose entries concern them. */
export class SessionIndex {
  readonly #byParent = new Map<string, Set<AgentSession>>();

  add(session: AgentSession): void {
    for (const parent of session.parents) {
      const sessions = this.#byParent.get(parent);
      if (sessions === undefined) this.#byParent.set(parent, new Set([session]));
      else sessions.add(session);
    }
  }

  /** Removes the session from its present parents. Call this before the parents change. */
  remove(session: AgentSession): void {
    for (const parent of session.parents) {
      const sessions = this.#byParent.get(parent);
      sessions?.delete(session);
      if (sessions?.size === 0) this.#byParent.delete(parent);
    }
  }

  /** The sessions that these parents concern, each with the parents that concern it. */
  under(parents: readonly string[]): ReadonlyMap<AgentSession, readonly string[]> {
    const concerned = new Map<AgentSession, string[]>();
    for (const parent of parents) {
      for (const session of this.#byParent.get(parent) ?? []) {
        const sessionParents = concerned.get(session);
        if (sessionParents === undefined) concerned.set(session, [parent]);
        else sessionParents.push(parent);
      }
    }
    return concerned;
  }
}
