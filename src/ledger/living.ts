import { endedStates, type AuthorityKind, type LoggedObject } from '../domain/index.ts';

/** Of an authority or a rotation: the kind of authority. */
export interface LivingObject {
  readonly object: 'authority' | 'rotation';
  readonly id: string;
  readonly kind: AuthorityKind;
}

const endingActs: ReadonlySet<string> = new Set([
  ...endedStates.map((state) => `authority.${state}`),
  'rotation.done',
  'rotation.cancelled',
]);

/**
 * The authorities that have not ended, and the rotations that are under way, as the records state
 * them. No row can say so: who changes or deletes the row of one would have another made in its
 * place. Owner of that memory.
 */
export class Living {
  readonly #living = new Map<string, LivingObject>();

  /** Records of other kinds are ignored. Called in the order of the records of each object. */
  apply({ kind: object, id, act, detail }: LoggedObject): void {
    if (object !== 'authority' && object !== 'rotation') return;
    const kind = detail['authorityKind'] as AuthorityKind;
    if (endingActs.has(act)) this.#living.delete(`${object} ${id}`);
    else this.#living.set(`${object} ${id}`, { object, id, kind });
  }

  all(): readonly LivingObject[] {
    return [...this.#living.values()];
  }

  /** In an order that depends on the content only. */
  copy(): readonly LivingObject[] {
    return this.all().toSorted((one, other) => (one.id < other.id ? -1 : 1));
  }

  restore(living: readonly LivingObject[]): void {
    for (const each of living) this.#living.set(`${each.object} ${each.id}`, each);
  }
}
