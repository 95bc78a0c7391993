import { isDeepStrictEqual } from 'node:util';
import { deepFrozen } from '../common/runtime/index.ts';
import {
  loggedClock,
  loggedId,
  loggedRevocation,
  loggedVersions,
  logObjectDigest,
  type ClockState,
  type LoggedObject,
  type LoggedValues,
  type LogObjectKind,
  type ObjectMismatch,
  type Proven,
} from '../domain/index.ts';
import { AdminIds } from './admin-ids.ts';
import { AcceptedBundles } from './accepted-bundles.ts';
import { Blocked } from './blocked.ts';
import { Deletions } from './deletions.ts';
import { Living, type LivingObject } from './living.ts';
import { notInLog } from './not-in-log.ts';
import { RememberedTexts, type TextHolder } from './remembered-texts.ts';
import { Restores, type AcceptedRestore } from './restores.ts';
import type { ObjectsContent } from './objects-content.ts';
import { Revoked, type RevokedCopy } from './revoked.ts';

/** Tells whether a value is exactly what its newest record commits to. */
export interface ObjectLedger {
  /**
   * The value, frozen, for a decision that rests on it. Its digest is computed from every field, and
   * for the frozen value not again as long as the log has no newer record of the object.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  require<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]>;
  /** The same; undefined if the log has another value or none. */
  prove<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> | undefined;
  /**
   * For a row that may be absent: its value as the log vouches for it. An absent row counts only
   * if the log has no such object.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  requireRow<Kind extends LogObjectKind, Found extends LoggedValues[Kind] | undefined>(
    kind: Kind,
    id: string,
    row: Found,
  ): Found;
  /**
   * The present number of objects of a kind, by the log. If each row is proven and the numbers
   * agree, no row was removed.
   */
  expectedCount(kind: LogObjectKind): number;
  /** Whether an entry makes this SPIFFE ID an admin's, by the log, whatever the rows say. */
  isAdminId(spiffeId: string): boolean;
  /**
   * The authorities that have not ended and the rotations that are under way, by the log, whatever
   * the rows say.
   */
  living(): readonly LivingObject[];
  /** Grows with every record of this kind. */
  newest(kind: LogObjectKind): number;
  /** What is on record of the wall clock; undefined: nothing yet. */
  clock(): ClockState | undefined;
  /** The accepted restores of the database, the latest one first. */
  restores(): readonly AcceptedRestore[];
  /** There is no row of this object. Announced if the log has the object. */
  announceAbsent(kind: LogObjectKind, id: string): void;
  /** Announces each object of this kind that the log has and that is not among these values. */
  announceMissing<Kind extends LogObjectKind>(
    kind: Kind,
    values: readonly LoggedValues[Kind][],
  ): void;
  /** Announces a difference in a value that has no record of its own kind: see ObjectMismatch. */
  announce(mismatch: ObjectMismatch): void;
  /** Called at each look at an unproven object. */
  onMismatch(listener: (mismatch: ObjectMismatch) => void): () => void;
}

interface Known extends TextHolder {
  readonly sha256: string;
  /** The sequence of the record. */
  readonly sequence: number;
}

/**
 * What the log says of each object now. Owner of that memory. It is filled from the log when the
 * store opens, and then from records only. So nothing that others write to the database gets into
 * it.
 */
export class Objects implements ObjectLedger {
  /** The content that is known without a row. */
  revoked = new Revoked();
  blocked = new Blocked();
  accepted = new AcceptedBundles();
  #adminIds = new AdminIds();
  #living = new Living();
  #restores = new Restores();
  #clock: ClockState | undefined;
  /** In the order of their records. */
  #known = new Map<string, Known>();
  /** SHA-256 of the evidence of the newest activation of each authority. */
  #evidence = new Map<string, { readonly sha256: string; readonly sequence: number }>();
  #counts = new Map<LogObjectKind, number>();
  /** The sequence of the newest record of each kind. */
  #newest = new Map<LogObjectKind, number>();
  readonly #listeners = new Set<(mismatch: ObjectMismatch) => void>();
  readonly #recordListeners = new Map<LogObjectKind, (id: string) => void>();
  /** Values that were proven and frozen, each with what the log said then. */
  readonly #proven = new WeakMap<object, Known>();
  /** Frozen rows that were found equal, each with what the log said then. */
  readonly #same = new WeakMap<object, Known>();
  #texts = new RememberedTexts();
  #deletions = new Deletions();

  /** Applies record `sequence`. Records may come out of order: the newest one counts. */
  apply(object: LoggedObject, sequence: number): void {
    const key = `${object.kind} ${object.id}`;
    const evidence = object.kind === 'authority' ? object.detail['evidence'] : undefined;
    if (typeof evidence === 'string' && (this.#evidence.get(object.id)?.sequence ?? 0) <= sequence)
      this.#evidence.set(object.id, { sha256: evidence, sequence });
    if (this.newest(object.kind) < sequence) this.#newest.set(object.kind, sequence);
    this.#recordListeners.get(object.kind)?.(object.id);
    if (object.kind === 'revocation') {
      // known in full, so that no digest is kept beside it
      if (this.revoked.add(loggedRevocation(object))) this.#count('revocation', 1);
      return;
    }
    const before = this.#known.get(key);
    if ((before?.sequence ?? 0) >= sequence) return;
    const more = (object.sha256 === '' ? 0 : 1) - ((before?.sha256 ?? '') === '' ? 0 : 1);
    if (more !== 0) this.#count(object.kind, more);
    this.#known.delete(key);
    this.#known.set(key, { sha256: object.sha256, sequence, text: undefined });
    if (object.sha256 === '') this.#forget(this.#deletions.add(key));
    this.revoked.apply(object);
    this.blocked.apply(object);
    this.accepted.apply(object);
    this.#adminIds.apply(object);
    this.#living.apply(object);
    if (object.kind === 'clock') this.#clock = loggedClock(object);
  }

  applyRestore(restore: AcceptedRestore): void {
    this.#restores.apply(restore);
  }

  /**
   * The present content; later records do not change it. Deleted objects are left out: for a row of
   * one, the log then has no record (`absent`), and the row is not proven either way.
   */
  copy(): ObjectsContent {
    const objects: [string, Readonly<Known>][] = [];
    for (const entry of this.#known) if (entry[1].sha256 !== '') objects.push(entry);
    return {
      objects,
      evidence: [...this.#evidence].sort(([, one], [, other]) => one.sequence - other.sequence),
      admins: this.#adminIds.copy(),
      blocked: this.blocked.copy(),
      accepted: this.accepted.copy(),
      living: this.#living.copy(),
      clock: this.#clock,
      restores: this.restores(),
      ...this.revoked.copy(),
    };
  }

  restore({
    objects,
    evidence,
    admins,
    blocked,
    accepted,
    living,
    clock,
    restores,
    ...revoked
  }: ObjectsContent): void {
    for (const [key, { sha256, sequence }] of objects) {
      this.#known.set(key, { sha256, sequence, text: undefined });
      const kind = key.slice(0, key.indexOf(' ')) as LogObjectKind;
      this.#count(kind, 1);
    }
    for (const [id, activation] of evidence) this.#evidence.set(id, activation);
    this.#adminIds.restore(admins);
    this.blocked.restore(blocked);
    this.accepted.restore(accepted);
    this.#living.restore(living);
    if (clock !== undefined) this.#clock = clock;
    for (const each of restores) this.#restores.apply(each);
    this.restoreRevoked(revoked);
  }

  /** A part of `restore`, which may come in several. */
  restoreRevoked(revoked: RevokedCopy): void {
    this.revoked.restore(revoked);
    this.#counts.set('revocation', this.revoked.size);
  }

  /**
   * Takes over the content of another memory and drops its own. The other one must not be used any
   * more.
   */
  become(other: Objects): void {
    this.#known = other.#known;
    this.#evidence = other.#evidence;
    this.#counts = other.#counts;
    this.#newest = other.#newest;
    this.#texts = other.#texts;
    this.#deletions = other.#deletions;
    this.revoked = other.revoked;
    this.blocked = other.blocked;
    this.accepted = other.accepted;
    this.#adminIds = other.#adminIds;
    this.#living = other.#living;
    this.#clock = other.#clock;
    this.#restores = other.#restores;
  }

  /** Whether the log has such an object now. */
  expects(kind: LogObjectKind, id: string): boolean {
    if (kind === 'revocation') return this.revoked.has(id);
    return (this.#known.get(`${kind} ${id}`)?.sha256 ?? '') !== '';
  }

  expectedCount(kind: LogObjectKind): number {
    return this.#counts.get(kind) ?? 0;
  }

  living(): readonly LivingObject[] {
    return this.#living.all();
  }

  isAdminId(spiffeId: string): boolean {
    return this.#adminIds.has(spiffeId);
  }

  newest(kind: LogObjectKind): number {
    return this.#newest.get(kind) ?? 0;
  }

  clock(): ClockState | undefined {
    return this.#clock;
  }

  restores(): readonly AcceptedRestore[] {
    return this.#restores.all();
  }

  evidenceOf(authorityId: string): string | undefined {
    return this.#evidence.get(authorityId)?.sha256;
  }

  /** See LogGuard. */
  requireRow<Kind extends LogObjectKind, Found extends LoggedValues[Kind] | undefined>(
    kind: Kind,
    id: string,
    row: Found,
  ): Found {
    if (row === undefined) {
      if (!this.sameRow(kind, id, undefined)) throw notInLog(kind, id);
      return row;
    }
    const vouched = this.#vouched(kind, id, row);
    if (vouched === undefined) throw notInLog(kind, id);
    return vouched as Found;
  }

  /** Whether a row (undefined: there is none) equals the log: see LogGuard. */
  sameRow<Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    row: LoggedValues[Kind] | undefined,
  ): boolean {
    if (row !== undefined) return this.#isSame(kind, id, row);
    if (!this.expects(kind, id)) return true;
    this.announce({ kind, id, found: 'differs' });
    return false;
  }

  prove<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> | undefined {
    const id = loggedId(kind, value);
    const logged = this.#known.get(`${kind} ${id}`);
    if (logged !== undefined && this.#proven.get(value) === logged)
      return value as Proven<LoggedValues[Kind]>;
    // of a value that somebody else froze, parts may still change
    const isOurs = !Object.isFrozen(value);
    const vouched = this.#vouched(kind, id, value);
    if (vouched === undefined) return undefined;
    if (vouched === value && isOurs && logged !== undefined) this.#proven.set(value, logged);
    return deepFrozen(vouched) as Proven<LoggedValues[Kind]>;
  }

  require<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> {
    const proven = this.prove(kind, value);
    if (proven === undefined) throw notInLog(kind, loggedId(kind, value));
    return proven;
  }

  /** Called with the ID in each record of a kind from now on. One listener a kind. */
  onRecord(kind: LogObjectKind, listener: (id: string) => void): void {
    this.#recordListeners.set(kind, listener);
  }

  onMismatch(listener: (mismatch: ObjectMismatch) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  announceAbsent(kind: LogObjectKind, id: string): void {
    this.sameRow(kind, id, undefined);
  }

  announceMissing<Kind extends LogObjectKind>(
    kind: Kind,
    values: readonly LoggedValues[Kind][],
  ): void {
    const ids = new Set(values.map((value) => loggedId(kind, value)));
    for (const id of this.idsWithout(kind, ids)) this.announce({ kind, id, found: 'differs' });
  }

  /** The IDs of the objects of this kind that the log has, without these. */
  idsWithout(kind: LogObjectKind, ids: ReadonlySet<string>): readonly string[] {
    let missing = this.expectedCount(kind);
    for (const id of ids) if (this.expects(kind, id)) missing -= 1;
    const found: string[] = [];
    if (missing === 0) return found;
    const prefix = `${kind} `;
    for (const [key, { sha256 }] of this.#known) {
      if (sha256 === '' || !key.startsWith(prefix)) continue;
      const id = key.slice(prefix.length);
      if (!ids.has(id)) found.push(id);
    }
    return found;
  }

  announce(mismatch: ObjectMismatch): void {
    for (const listener of this.#listeners) listener(mismatch);
  }

  #isSame<Kind extends LogObjectKind>(kind: Kind, id: string, row: LoggedValues[Kind]): boolean {
    const logged = this.#known.get(`${kind} ${id}`);
    if (logged !== undefined && this.#same.get(row) === logged) return true;
    if (this.#vouched(kind, id, row) === undefined) return false;
    if (logged !== undefined && Object.isFrozen(row)) this.#same.set(row, logged);
    return true;
  }

  /** The value as the newest record vouches for it. A difference is announced. */
  #vouched<Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    value: LoggedValues[Kind],
  ): LoggedValues[Kind] | undefined {
    let found: ObjectMismatch['found'] = 'absent';
    if (kind === 'revocation') {
      const logged = this.revoked.get(id);
      if (isDeepStrictEqual(logged, value)) return value;
      this.announce({ kind, id, found: logged === undefined ? 'absent' : 'differs' });
      return undefined;
    }
    for (const { text, vouched } of loggedVersions(kind)) {
      const compared = this.#compare(kind, id, text(value));
      if (compared === 'same') return vouched(value);
      found = compared;
    }
    this.announce({ kind, id, found });
    return undefined;
  }

  #forget(key: string | undefined): void {
    if (key !== undefined && this.#known.get(key)?.sha256 === '') this.#known.delete(key);
  }

  #count(kind: LogObjectKind, more: number): void {
    this.#counts.set(kind, this.expectedCount(kind) + more);
  }

  #compare(kind: LogObjectKind, id: string, text: string): 'same' | ObjectMismatch['found'] {
    const logged = this.#known.get(`${kind} ${id}`);
    if (logged === undefined) return 'absent';
    if (logged.sha256 === '') return 'deleted';
    if (logged.text !== undefined) return logged.text === text ? 'same' : 'differs';
    if (logObjectDigest(text) !== logged.sha256) return 'differs';
    this.#texts.keep(logged, text);
    return 'same';
  }
}
