import type { LoggedObject } from '../domain/index.ts';

/**
 * The SPIFFE IDs that entries make an admin's, as the records state them. No row can say so: who
 * deletes or changes the row of such an entry would give the ID free. Owner of that memory.
 */
export class AdminIds {
  /** By entry. */
  readonly #byEntry = new Map<string, string>();
  readonly #entries = new Map<string, Set<string>>();

  /** Records of other kinds are ignored. Called in the order of the records of each entry. */
  apply({ kind, id, sha256, subject, detail }: LoggedObject): void {
    if (kind !== 'entry') return;
    this.#drop(id);
    if (sha256 !== '' && detail['admin'] === true) this.#set(id, subject);
  }

  has(spiffeId: string): boolean {
    return this.#entries.has(spiffeId);
  }

  /** In an order that depends on the content only. */
  copy(): readonly (readonly [entryId: string, spiffeId: string])[] {
    return [...this.#byEntry].sort(([one], [other]) => (one < other ? -1 : 1));
  }

  restore(admins: ReturnType<AdminIds['copy']>): void {
    for (const [entryId, spiffeId] of admins) this.#set(entryId, spiffeId);
  }

  #set(entryId: string, spiffeId: string): void {
    this.#byEntry.set(entryId, spiffeId);
    const entries = this.#entries.get(spiffeId);
    if (entries === undefined) this.#entries.set(spiffeId, new Set([entryId]));
    else entries.add(entryId);
  }

  #drop(entryId: string): void {
    const spiffeId = this.#byEntry.get(entryId);
    if (spiffeId === undefined) return;
    this.#byEntry.delete(entryId);
    const entries = this.#entries.get(spiffeId);
    entries?.delete(entryId);
    if (entries?.size === 0) this.#entries.delete(spiffeId);
  }
}
