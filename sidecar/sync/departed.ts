import type { Left } from '../ports/consumers.ts';

export interface DepartedGroup {
  readonly key: string;
  readonly spiffeId: string;
  readonly takes: 'roots' | 'jwt';
  readonly state: 'pending' | 'confirmed';
  readonly digest: string;
  /** The description of the latest member. */
  readonly description: string;
  readonly inferred: boolean;
  readonly processes: number;
  readonly until: number;
}

interface Group extends Omit<DepartedGroup, 'processes' | 'until' | 'description'> {
  description: string;
  readonly members: Map<string, number>;
  /** The number of members beyond those that are listed. */
  others: number;
  othersUntil: number;
}

/** Members beyond this number still count until the last of them expires, but are not listed. */
const maximumMembers = 64;

/**
 * Holders that left with a certificate. It may still be in use, so it counts until it has expired,
 * or until the same process has read a newer one. Grouped by identity and set, so that a workload
 * which starts and ends all day is one line. Owner of these groups.
 */
export class Departed {
  readonly #groups = new Map<string, Group>();

  /** Returns the key of the group that changed. */
  add(left: Left): string {
    const inferred = left.inferred === true;
    const key = `${left.takes} ${left.state} ${left.digest} ${left.spiffeId}${inferred ? ' inferred' : ''}`;
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
          inferred,
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
   * Call it when a process has read a newer state of this identity, which settles what it left
   * behind. Returns the keys of the groups that changed.
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
   * Forgets members whose certificates expired before `now`. Returns the keys of the groups that
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

  /** Undefined if the group has no members left. */
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

  /** The records for the file: one per process, and one for the members that are not listed. */
  *records(): Iterable<Left> {
    for (const {
      spiffeId,
      takes,
      state,
      digest,
      description,
      inferred,
      members,
      others,
      othersUntil,
    } of this.#groups.values()) {
      const left = { spiffeId, takes, state, digest, description, inferred };
      for (const [holder, until] of members) yield { ...left, holder, until };
      if (others > 0) yield { ...left, holder: 'others', until: othersUntil };
    }
  }
}
