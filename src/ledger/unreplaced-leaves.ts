import type { Clock } from '../common/runtime/index.ts';
import { certificateKinds, type CertificateKind } from '../domain/index.ts';
import type { RecordedLeaf } from './issued-record.ts';

const sweepEvery = 1_000;

/** The random end of a serial, as a number: 52 bits. A text would take three times the memory. */
const shortSerial = (serial: string): number => Number.parseInt(serial.slice(-13), 16);

/** Short serial → notAfter. */
type Leaves = Map<number, number>;

interface ToldEarly {
  readonly replaced: Set<number>;
  /** All of them are gone but this one. */
  except?: number;
}

/**
 * The live leaves of each authority by the records of the log, without those that their holder told
 * this process it has replaced. What was told to an earlier process does not count, since only a
 * row has it. Owner of that memory.
 */
export class UnreplacedLeaves {
  readonly #clock: Pick<Clock, 'now'>;
  /** By authority, and by kind and holder. */
  #byAuthority = new Map<string, Map<string, Leaves>>();
  /** The latest notAfter of the expired leaves of each authority that were dropped. */
  #dropped = new Map<string, number>();
  /** What was told while records were unread, by kind and holder. Undefined: all were read. */
  #toldEarly: Map<string, ToldEarly> | undefined;
  #applied = 0;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** Whether the records of all live leaves were read. */
  get whole(): boolean {
    return this.#toldEarly === undefined;
  }

  /** A snapshot names no leaves: those of the records under it are unknown from here on. */
  begin(): void {
    this.#toldEarly = new Map();
  }

  apply({ kind, holder, serial, authorityId, notAfter }: RecordedLeaf): void {
    let byHolder = this.#byAuthority.get(authorityId);
    if (byHolder === undefined) this.#byAuthority.set(authorityId, (byHolder = new Map()));
    const key = holderKey(kind, holder);
    let leaves = byHolder.get(key);
    if (leaves === undefined) byHolder.set(key, (leaves = new Map()));
    leaves.set(shortSerial(serial), notAfter);
    this.#applied += 1;
    if (this.#applied >= sweepEvery) this.#sweep();
  }

  /** The holder has told this process that it uses these no more. */
  replaced(holder: string, serials: readonly string[]): void {
    const told = serials.map(shortSerial);
    for (const kind of certificateKinds) {
      const key = holderKey(kind, holder);
      for (const byHolder of this.#byAuthority.values()) {
        const leaves = byHolder.get(key);
        for (const serial of told) leaves?.delete(serial);
      }
      for (const serial of told) this.#early(key)?.replaced.add(serial);
    }
  }

  /** All leaves of this kind ended with the process that had their keys, except one. */
  gone(holder: string, kind: CertificateKind, except: string): void {
    const kept = shortSerial(except);
    const key = holderKey(kind, holder);
    for (const byHolder of this.#byAuthority.values()) {
      const leaves = byHolder.get(key);
      for (const serial of leaves?.keys() ?? []) if (serial !== kept) leaves?.delete(serial);
    }
    const early = this.#early(key);
    if (early !== undefined) early.except = kept;
  }

  /** Whether the holder has told this process that it uses this leaf no more. */
  wasReplaced(holder: string, authorityId: string, serial: string): boolean {
    const short = shortSerial(serial);
    const keys = certificateKinds.map((kind) => holderKey(kind, holder));
    const byHolder = this.#byAuthority.get(authorityId);
    if (keys.some((key) => byHolder?.get(key)?.has(short) === true)) return false;
    const early = this.#toldEarly;
    return early === undefined || keys.some((key) => early.get(key)?.replaced.has(short) === true);
  }

  /** Whether a leaf of this authority that ends at `since` or later may be in use. */
  isLive(authorityId: string, since: number): boolean {
    if ((this.#dropped.get(authorityId) ?? 0) >= since) return true;
    for (const leaves of this.#byAuthority.get(authorityId)?.values() ?? [])
      for (const notAfter of leaves.values()) if (notAfter >= since) return true;
    return false;
  }

  /** How many leaves of this authority end at `since` or later and are with these holders. */
  countOf(authorityId: string, since: number, counts: (holder: string) => boolean): number {
    let live = 0;
    for (const [key, leaves] of this.#byAuthority.get(authorityId) ?? []) {
      let liveOfHolder = 0;
      for (const notAfter of leaves.values()) if (notAfter >= since) liveOfHolder += 1;
      // most holders of an old authority have replaced theirs: who they are need not be asked
      if (liveOfHolder > 0 && counts(key.slice(key.indexOf(' ') + 1))) live += liveOfHolder;
    }
    return live;
  }

  /**
   * Adds what the records under the snapshot say, after all of them were read. The other memory must
   * not be used any more: to copy a million leaves would block the loop.
   */
  complete(read: UnreplacedLeaves): void {
    const early = this.#toldEarly;
    if (early === undefined) return;
    this.#toldEarly = undefined;
    for (const [authorityId, byHolder] of read.#byAuthority)
      for (const [key, leaves] of byHolder) {
        const present = this.#byAuthority.get(authorityId) ?? new Map<string, Leaves>();
        this.#byAuthority.set(authorityId, present);
        present.set(key, merged(present.get(key), withoutTold(leaves, early.get(key))));
      }
    for (const [authorityId, last] of read.#dropped) this.#drop(authorityId, last);
  }

  /**
   * Takes over the content of another memory and drops its own. The other one must not be used any
   * more.
   */
  become(other: UnreplacedLeaves): void {
    this.#byAuthority = other.#byAuthority;
    this.#dropped = other.#dropped;
    this.#toldEarly = other.#toldEarly;
    this.#applied = other.#applied;
  }

  #early(key: string): ToldEarly | undefined {
    if (this.#toldEarly === undefined) return undefined;
    const early = this.#toldEarly.get(key) ?? { replaced: new Set() };
    this.#toldEarly.set(key, early);
    return early;
  }

  #drop(authorityId: string, notAfter: number): void {
    if ((this.#dropped.get(authorityId) ?? 0) < notAfter) this.#dropped.set(authorityId, notAfter);
  }

  /** Drops expired leaves. The next sweep comes after as many records as leaves are left. */
  #sweep(): void {
    const now = this.#clock.now();
    let left = 0;
    for (const [authorityId, byHolder] of this.#byAuthority) {
      for (const [key, leaves] of byHolder) {
        for (const [serial, notAfter] of leaves) {
          if (notAfter >= now) continue;
          leaves.delete(serial);
          this.#drop(authorityId, notAfter);
        }
        if (leaves.size === 0) byHolder.delete(key);
        left += leaves.size;
      }
      if (byHolder.size === 0) this.#byAuthority.delete(authorityId);
    }
    this.#applied = Math.min(0, sweepEvery - left);
  }
}

function withoutTold(leaves: Leaves, early: ToldEarly | undefined): Leaves {
  if (early === undefined) return leaves;
  for (const serial of early.replaced) leaves.delete(serial);
  if (early.except === undefined) return leaves;
  const kept = leaves.get(early.except);
  return new Map(kept === undefined ? [] : [[early.except, kept]]);
}

/** Both, in the larger one. */
function merged(one: Leaves | undefined, other: Leaves): Leaves {
  if (one === undefined) return other;
  const [smaller, larger] = one.size < other.size ? [one, other] : [other, one];
  for (const [serial, notAfter] of smaller) larger.set(serial, notAfter);
  return larger;
}

const holderKey = (kind: CertificateKind, holder: string): string => `${kind} ${holder}`;
