import type { Left } from '../ports/consumers.ts';

export interface DepartedGroup {
  readonly key: string;
  readonly spiffeId: string;
  readonly takes: 'roots' | 'jwt';
  readonly state: 'pending' | 'confirmed';
  readonly digest: string;
  /** Of the one that came last. */
  readonly description: string;
  readonly processes: number;
  readonly until: number;
}

interface Group extends Omit<DepartedGroup, 'processes' | 'until' | 'description'> {
  description: string;
  readonly members: Map<string, number>;
  /** Those beyond what is kept by process. */
  others: number;
  othersUntil: number;
}

/** Beyond it a group still counts until the last of them, and no longer knows them one by one. */
const maximumMembers = 64;

/**
 * Holders that left with a certificate in hand: nobody can tell whether it is still in use, so it
 * counts until it has expired, or until the same process has read something newer. Grouped by
 * identity and by what they held, so that a workload which starts and ends all day stays one line.
 * Owner of these groups.
 */
export class Departed {
  readonly #groups = new Map<string, Group>();

  /** Returns the key of the group that changed. */
  add(left: Left): string {
    const key = `${left.takes} ${left.state} ${left.digest} ${left.spiffeId}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      const { spiffeId, takes, state, digest, description } = left;
      this.#groups.set(
        key,
        (group = {
          key,
          spiffeId,
          takes,
          state,
          digest,
          description,
          members: new Map(),
          others: 0,
          othersUntil: 0,
        }),
      );
    }
    group.description = left.description;
    const known = group.members.get(left.holder);
    if (known !== undefined || group.members.size < maximumMembers)
      group.members.set(left.holder, Math.max(known ?? 0, left.until));
    else {
      group.others += 1;
      group.othersUntil = Math.max(group.othersUntil, left.until);
    }
    return key;
  }

  /**
   * A process has read a newer state of this identity: what it left behind is settled. Returns the
   * keys of the groups that changed.
   */
  settle(holder: string, spiffeId: string, takes: 'roots' | 'jwt'): readonly string[] {
    const changed: string[] = [];
    for (const group of this.#groups.values()) {
      if (group.spiffeId !== spiffeId || group.takes !== takes || !group.members.delete(holder))
        continue;
      changed.push(group.key);
    }
    return changed;
  }

  /**
   * Forgets whose certificates have expired before `now`. Returns the keys of the groups that
   * changed.
   */
  expire(now: number): readonly string[] {
    const changed: string[] = [];
    for (const group of this.#groups.values()) {
      let touched = false;
      for (const [holder, until] of group.members) {
        if (until >= now) continue;
        group.members.delete(holder);
        touched = true;
      }
      if (group.others > 0 && group.othersUntil < now) {
        Object.assign(group, { others: 0, othersUntil: 0 });
        touched = true;
      }
      if (touched) changed.push(group.key);
    }
    return changed;
  }

  /** undefined: nobody is left in it, and it is forgotten. */
  group(key: string): DepartedGroup | undefined {
    const group = this.#groups.get(key);
    if (group === undefined) return undefined;
    const { members, others, othersUntil, ...rest } = group;
    if (members.size + others === 0) {
      this.#groups.delete(key);
      return undefined;
    }
    return {
      ...rest,
      processes: members.size + others,
      until: Math.max(othersUntil, ...members.values()),
    };
  }

  get size(): number {
    return this.#groups.size;
  }

  /**
   * For the file: one record per process, and one for those that are no longer known one by one.
   */
  *records(): Iterable<Left> {
    for (const {
      spiffeId,
      takes,
      state,
      digest,
      description,
      members,
      others,
      othersUntil,
    } of this.#groups.values()) {
      for (const [holder, until] of members)
        yield { spiffeId, takes, state, digest, description, holder, until };
      if (others > 0)
        yield { spiffeId, takes, state, digest, description, holder: 'others', until: othersUntil };
    }
  }
}
