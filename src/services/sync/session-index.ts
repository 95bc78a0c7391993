import type { AgentSession } from './session.ts';

/** Sessions by the parents whose entries concern them. */
export class SessionIndex {
  readonly #byParent = new Map<string, Set<AgentSession>>();

  add(session: AgentSession): void {
    for (const parent of session.parents) {
      const sessions = this.#byParent.get(parent);
      if (sessions === undefined) this.#byParent.set(parent, new Set([session]));
      else sessions.add(session);
    }
  }

  /** Under the parents that the session has now: to be called before they change. */
  remove(session: AgentSession): void {
    for (const parent of session.parents) {
      const sessions = this.#byParent.get(parent);
      sessions?.delete(session);
      if (sessions?.size === 0) this.#byParent.delete(parent);
    }
  }

  /** Each session that one of these parents concerns, with those of them that concern it. */
  under(parents: readonly string[]): ReadonlyMap<AgentSession, readonly string[]> {
    const concerned = new Map<AgentSession, string[]>();
    for (const parent of parents) {
      for (const session of this.#byParent.get(parent) ?? []) {
        const own = concerned.get(session);
        if (own === undefined) concerned.set(session, [parent]);
        else own.push(parent);
      }
    }
    return concerned;
  }
}
