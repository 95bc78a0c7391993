import { PkiError } from '../common/errors/index.ts';
import {
  loggedId,
  loggedVersions,
  logObjectDigest,
  type LoggedObject,
  type LoggedValues,
  type LogObjectKind,
  type ObjectMismatch,
  type Proven,
} from '../domain/index.ts';
import { deepFrozen } from './frozen.ts';
import { Revoked, type RevokedCopy } from './revoked.ts';

/** Whether a value is exactly what the newest record about it commits to. */
export interface ObjectLedger {
  /**
   * The value, frozen, as one on which a decision may rest. Its digest is computed anew from every
   * field at each call.
   * @throws OBJECT_NOT_IN_LOG
   */
  require<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]>;
  /** The same, undefined where the log has another value, or none. */
  prove<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> | undefined;
  /**
   * How many objects of a kind there are now by the log: with each row proven, as many rows means
   * that none was taken away.
   */
  expectedCount(kind: LogObjectKind): number;
  /** For a look at what has no record of its own kind: see ObjectMismatch. */
  announce(mismatch: ObjectMismatch): void;
  /** Called at each look at an object that is not proven. */
  onMismatch(listener: (mismatch: ObjectMismatch) => void): () => void;
}

interface Known {
  readonly sha256: string;
  /** Of the record that says so. */
  readonly sequence: number;
  /** The text that was found to have this digest: comparing texts is cheaper than hashing them. */
  text: string | undefined;
}

/** By kind and ID, as `kind id`. */
export interface ObjectsContent extends RevokedCopy {
  readonly objects: readonly (readonly [
    key: string,
    said: { readonly sha256: string; readonly sequence: number },
  ])[];
  readonly evidence: readonly (readonly [
    authorityId: string,
    said: { readonly sha256: string; readonly sequence: number },
  ])[];
}

const rememberedTexts = 20_000;

/**
 * What the log says of each object now. Owner of that memory: filled from the log when the store
 * opens, and from then on by records alone, so that nothing that others write to the database gets
 * into it.
 */
export class Objects implements ObjectLedger {
  /** What needs no row to be known. */
  revoked = new Revoked();
  /** In the order of the records that say so. */
  #known = new Map<string, Known>();
  /** SHA-256 of the evidence of the newest activation of each authority. */
  #evidence = new Map<string, { readonly sha256: string; readonly sequence: number }>();
  #counts = new Map<LogObjectKind, number>();
  readonly #listeners = new Set<(mismatch: ObjectMismatch) => void>();
  #withText: Known[] = [];

  /** What record `sequence` says; records may come out of order, the newest counts. */
  apply(object: LoggedObject, sequence: number): void {
    const key = `${object.kind} ${object.id}`;
    const evidence = object.kind === 'authority' ? object.detail['evidence'] : undefined;
    if (typeof evidence === 'string' && (this.#evidence.get(object.id)?.sequence ?? 0) <= sequence)
      this.#evidence.set(object.id, { sha256: evidence, sequence });
    const before = this.#known.get(key);
    if ((before?.sequence ?? 0) >= sequence) return;
    const more = (object.sha256 === '' ? 0 : 1) - ((before?.sha256 ?? '') === '' ? 0 : 1);
    if (more !== 0) this.#counts.set(object.kind, this.expectedCount(object.kind) + more);
    this.#known.delete(key);
    this.#known.set(key, { sha256: object.sha256, sequence, text: undefined });
    this.revoked.apply(object);
  }

  /**
   * What is known now; what is applied later does not get into it. Of what was deleted nothing is
   * kept: a row of it is `absent` from the log then, and no more good for that.
   */
  copy(): ObjectsContent {
    const objects: [string, Readonly<Known>][] = [];
    for (const each of this.#known) if (each[1].sha256 !== '') objects.push(each);
    return {
      objects,
      evidence: [...this.#evidence].sort(([, one], [, other]) => one.sequence - other.sequence),
      ...this.revoked.copy(),
    };
  }

  restore({ objects, evidence, ...revoked }: ObjectsContent): void {
    for (const [key, { sha256, sequence }] of objects) {
      this.#known.set(key, { sha256, sequence, text: undefined });
      const kind = key.slice(0, key.indexOf(' ')) as LogObjectKind;
      this.#counts.set(kind, this.expectedCount(kind) + 1);
    }
    for (const [id, each] of evidence) this.#evidence.set(id, each);
    this.revoked.restore(revoked);
  }

  /**
   * Takes all that another one knows, in the place of what it knew. The other is not used any more.
   */
  become(other: Objects): void {
    this.#known = other.#known;
    this.#evidence = other.#evidence;
    this.#counts = other.#counts;
    this.#withText = other.#withText;
    this.revoked = other.revoked;
  }

  /** Whether the log says that there is such an object now. */
  expects(kind: LogObjectKind, id: string): boolean {
    return (this.#known.get(`${kind} ${id}`)?.sha256 ?? '') !== '';
  }

  expectedCount(kind: LogObjectKind): number {
    return this.#counts.get(kind) ?? 0;
  }

  evidenceOf(authorityId: string): string | undefined {
    return this.#evidence.get(authorityId)?.sha256;
  }

  /** See LogGuard. */
  requireRow<Kind extends LogObjectKind, Found extends LoggedValues[Kind] | undefined>(
    kind: Kind,
    id: string,
    found: Found,
  ): Found {
    if (found === undefined) {
      if (!this.sameRow(kind, id, undefined)) throw notInLog(kind, id);
      return found;
    }
    const vouched = this.#vouched(kind, id, found);
    if (vouched === undefined) throw notInLog(kind, id);
    return vouched as Found;
  }

  /** Whether a row (undefined: there is none) is as the log has it; announced when it is not. */
  sameRow<Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    found: LoggedValues[Kind] | undefined,
  ): boolean {
    if (found !== undefined) return this.#vouched(kind, id, found) !== undefined;
    if (!this.expects(kind, id)) return true;
    this.announce({ kind, id, found: 'differs' });
    return false;
  }

  prove<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> | undefined {
    const vouched = this.#vouched(kind, loggedId(kind, value), value);
    return vouched === undefined ? undefined : (deepFrozen(vouched) as Proven<LoggedValues[Kind]>);
  }

  require<Kind extends LogObjectKind>(
    kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> {
    const proven = this.prove(kind, value);
    if (proven === undefined) throw notInLog(kind, loggedId(kind, value));
    return proven;
  }

  onMismatch(listener: (mismatch: ObjectMismatch) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  announce(mismatch: ObjectMismatch): void {
    for (const listener of this.#listeners) listener(mismatch);
  }

  /** The value as the newest record vouches for it; announced where that does not. */
  #vouched<Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    value: LoggedValues[Kind],
  ): LoggedValues[Kind] | undefined {
    let found: ObjectMismatch['found'] = 'absent';
    for (const { text, vouched } of loggedVersions(kind)) {
      const compared = this.#compare(kind, id, text(value));
      if (compared === 'same') return vouched(value);
      found = compared;
    }
    this.announce({ kind, id, found });
    return undefined;
  }

  #compare(kind: LogObjectKind, id: string, text: string): 'same' | ObjectMismatch['found'] {
    const known = this.#known.get(`${kind} ${id}`);
    if (known === undefined) return 'absent';
    if (known.sha256 === '') return 'deleted';
    if (known.text !== undefined) return known.text === text ? 'same' : 'differs';
    if (logObjectDigest(text) !== known.sha256) return 'differs';
    known.text = text;
    this.#withText.push(known);
    if (this.#withText.length > rememberedTexts)
      for (const old of this.#withText.splice(0, rememberedTexts / 2)) old.text = undefined;
    return 'same';
  }
}

const notInLog = (kind: string, id: string): PkiError =>
  new PkiError(
    'OBJECT_NOT_IN_LOG',
    `the ${kind} ${id} is not as the audit log has it; nothing is signed on its strength`,
    { detail: { kind, id } },
  );
