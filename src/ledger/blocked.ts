import { loggedBlockedKey, type BlockedKey, type LoggedObject } from '../domain/index.ts';

/** The blocked keys, complete as the records state them. Owner of that memory. */
export class Blocked {
  readonly #keys = new Map<string, BlockedKey>();

  /** Records of other kinds are ignored. The first record of a key counts. */
  apply(object: LoggedObject): void {
    if (object.kind === 'blocked-key' && !this.#keys.has(object.id))
      this.#keys.set(object.id, loggedBlockedKey(object));
  }

  get(publicKeySha256: string): BlockedKey | undefined {
    return this.#keys.get(publicKeySha256);
  }

  /** In an order that depends on the content only. */
  copy(): readonly BlockedKey[] {
    return [...this.#keys.values()].sort((one, other) =>
      one.publicKeySha256 < other.publicKeySha256 ? -1 : 1,
    );
  }

  restore(keys: readonly BlockedKey[]): void {
    for (const key of keys) this.#keys.set(key.publicKeySha256, key);
  }
}
