import { readFileSync } from 'node:fs';
import type { Proc } from './proc.ts';

/** What the kernel tells about the IDs of one kind, user or group (user_namespaces(7)). */
export interface IdSpace {
  /** The ID that the kernel shows for an ID outside our user namespace. */
  readonly overflowId: number;
  /** Text of /proc/self/uid_map or gid_map: lines of first ID inside, first ID outside, count. */
  readonly map: string;
}

/** IDs run to 2^32 − 2; the last number means "no ID". */
const allIds = 4_294_967_295;

/**
 * Distinguishes processes that have the overflow ID (65534, `nobody`) from processes that the
 * kernel only shows with it. If our user namespace knows all IDs, as the initial one does, the ID
 * is real. Otherwise it is real for a process in our own user namespace, if our namespace has that
 * ID at all.
 */
export class OverflowIds {
  readonly #uids: IdSpace;
  readonly #gids: IdSpace;
  readonly #proc: Proc;

  constructor(uids: IdSpace, gids: IdSpace, proc: Proc) {
    this.#uids = uids;
    this.#gids = gids;
    this.#proc = proc;
  }

  /** The ID spaces of this process. */
  static ofSystem(proc: Proc): OverflowIds {
    const space = (kind: 'uid' | 'gid'): IdSpace => ({
      overflowId: Number(readFileSync(`/proc/sys/kernel/overflow${kind}`, 'utf8').trim()),
      map: readFileSync(`/proc/self/${kind}_map`, 'utf8'),
    });
    return new OverflowIds(space('uid'), space('gid'), proc);
  }

  /** Whether this uid of the process may be that of any user in another namespace. */
  isUnknownUid(uid: number, pid: number): boolean {
    return this.#isUnknown(this.#uids, uid, pid);
  }

  isUnknownGid(gid: number, pid: number): boolean {
    return this.#isUnknown(this.#gids, gid, pid);
  }

  #isUnknown({ overflowId, map }: IdSpace, id: number, pid: number): boolean {
    if (id !== overflowId) return false;
    const ranges = parseIdMap(map);
    if (ranges.reduce((sum, { count }) => sum + count, 0) >= allIds) return false;
    if (!ranges.some(({ first, count }) => id >= first && id < first + count)) return true;
    const own = this.#proc.link('self', 'ns/user');
    const other = this.#proc.link(pid, 'ns/user');
    return own === undefined || other === undefined || !own.equals(other);
  }
}

interface IdRange {
  readonly first: number;
  readonly count: number;
}

function parseIdMap(text: string): readonly IdRange[] {
  return text.split('\n').flatMap((line) => {
    const [first, , count] = line.trim().split(/\s+/).map(Number);
    return Number.isSafeInteger(first) && Number.isSafeInteger(count)
      ? [{ first: first as number, count: count as number }]
      : [];
  });
}
