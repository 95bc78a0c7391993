import { createHash } from 'node:crypto';
import { PkiError } from '../../common/errors/index.ts';
import { logObjectDigest, type LoggedObject, type LogObjectKind } from '../../domain/index.ts';
import type { ObjectLedger, ObjectMismatch } from '../ports/index.ts';
import type {
  AgentTable,
  AuthorityTable,
  CrlTable,
  DelegationTable,
  EntryTable,
  JoinTokenTable,
  OperationTable,
  PolicyTable,
  RevocationTable,
  RoleTable,
  RotationTable,
  Schema,
} from '../schema.ts';
import { hex, hexOrNull } from './codec.ts';
import { Revoked, type RevokedCopy } from './revoked.ts';

/**
 * The text of a row that its record commits to. Columns that change without a record are left out.
 */
export const rowText = {
  entry: (row: EntryTable): string =>
    JSON.stringify([
      row.id,
      row.spiffe_id,
      row.is_template,
      row.placeholders,
      row.parent_id,
      row.selectors,
      row.x509_ttl_seconds,
      row.jwt_ttl_seconds,
      row.profile,
      row.dns_names,
      row.hint,
      row.expires_at,
      row.admin,
      row.downstream,
      row.allow_weak_selectors,
      row.revision,
      row.created_at,
      row.updated_at,
      row.created_by,
    ]),
  delegation: (row: DelegationTable): string =>
    JSON.stringify([
      row.id,
      row.client_id,
      row.patterns,
      row.max_ttl_seconds,
      row.key_types,
      row.dns_patterns,
      row.profile,
      row.expires_at,
      row.revoked_at,
      row.created_at,
      row.created_by,
    ]),
  role: (row: RoleTable): string =>
    JSON.stringify([
      row.name,
      row.verbs,
      row.prefixes,
      row.members,
      row.created_at,
      row.updated_at,
    ]),
  authority: (row: AuthorityTable): string =>
    JSON.stringify([
      row.id,
      row.kind,
      row.state,
      row.version,
      row.key_type,
      row.token,
      row.cka_id,
      row.parent_id,
      row.scope,
      hexOrNull(row.spki_der),
      hexOrNull(row.certificate_der),
      row.subject_key_id,
      row.not_before,
      row.not_after,
      row.created_at,
      row.activated_at,
      row.tainted_at,
      row.published_at,
      row.taint_window_seconds,
    ]),
  agent: (row: AgentTable): string =>
    JSON.stringify([
      row.spiffe_id,
      row.attestation_type,
      row.selectors,
      row.state,
      row.generation,
      hex(row.serial),
      hex(row.spki_der),
      row.attested_at,
      row.renewed_at,
      row.svid_not_after,
    ]),
  'join-token': (row: JoinTokenTable): string =>
    JSON.stringify([
      row.id,
      hex(row.token_sha256),
      row.agent_id,
      row.node_selectors,
      row.expires_at,
      row.created_by,
      row.created_at,
    ]),
  rotation: (row: RotationTable): string =>
    JSON.stringify([
      row.id,
      row.kind,
      row.state,
      row.version,
      row.spec,
      row.created_by,
      row.created_at,
    ]),
  'approval-policy': (row: PolicyTable): string =>
    JSON.stringify([row.version, row.policy, row.updated_at, row.updated_by]),
  operation: (row: OperationTable): string =>
    JSON.stringify([
      row.id,
      row.version,
      hex(row.bytes),
      row.method,
      row.proposer,
      row.created_at,
      row.expires_at,
      row.state,
      row.approvals,
      row.outcome,
      row.evidence,
      row.decided_at,
      row.updated_at,
    ]),
  bundle: (row: Schema['bundles']): string =>
    JSON.stringify([row.sequence, row.document, row.jws, row.created_at]),
  revocation: (row: RevocationTable): string =>
    JSON.stringify([
      hex(row.serial),
      row.authority_id,
      row.reason,
      row.revoked_at,
      row.revoked_by,
      row.not_after,
    ]),
  crl: (row: CrlTable): string =>
    JSON.stringify([
      row.authority_id,
      row.number,
      row.this_update,
      row.next_update,
      createHash('sha256').update(row.der).digest('hex'),
    ]),
} as const satisfies Record<LogObjectKind, (row: never) => string>;

interface Known {
  readonly sha256: string;
  /** Of the record that says so. */
  readonly sequence: number;
  /** The text that was found to have this digest: comparing texts is cheaper than hashing them. */
  text: string | undefined;
}

/** By kind and ID, as `kind id`. */
export interface LedgerContent extends RevokedCopy {
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
 * opens, and from then on by the records of this process alone, so that nothing written to the
 * database by others gets into it.
 */
export class Ledger implements ObjectLedger {
  /** What needs no row to be known. */
  revoked = new Revoked();
  /** In the order of the records that say so. */
  #known = new Map<string, Known>();
  readonly #rows = new WeakMap<
    object,
    { readonly kind: LogObjectKind; readonly id: string; readonly text: () => string }
  >();
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
  copy(): LedgerContent {
    const objects: [string, Readonly<Known>][] = [];
    for (const each of this.#known) if (each[1].sha256 !== '') objects.push(each);
    return {
      objects,
      evidence: [...this.#evidence].sort(([, one], [, other]) => one.sequence - other.sequence),
      ...this.revoked.copy(),
    };
  }

  restore({ objects, evidence, ...revoked }: LedgerContent): void {
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
  become(other: Ledger): void {
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

  /**
   * Before a write goes on from what stands in a row (`undefined`: there is none): else a record of
   * the new state would make good what somebody else had put into the old one.
   * @throws OBJECT_NOT_IN_LOG
   */
  requireRow(kind: LogObjectKind, id: string, text: string | undefined): void {
    if (!this.sameRow(kind, id, text)) throw notInLog(kind, id);
  }

  /** Whether a row (`undefined`: there is none) is as the log has it; announced when it is not. */
  sameRow(kind: LogObjectKind, id: string, text: string | undefined): boolean {
    const found =
      text === undefined
        ? this.expects(kind, id)
          ? 'differs'
          : 'same'
        : this.#compare(kind, id, text);
    if (found !== 'same') this.announce({ kind, id, found });
    return found === 'same';
  }

  /** Remembers from which row an object was read, for whoever will rest a decision on it. */
  read<T extends object>(kind: LogObjectKind, id: string, text: () => string, object: T): T {
    this.#rows.set(object, { kind, id, text });
    return object;
  }

  proven(object: object): boolean {
    const row = this.#rows.get(object);
    if (row === undefined)
      throw new PkiError(
        'INTERNAL',
        'an object that was not read from the store is to be proven by the log',
      );
    const found = this.#compare(row.kind, row.id, row.text());
    if (found === 'same') return true;
    this.announce({ kind: row.kind, id: row.id, found });
    return false;
  }

  require(object: object): void {
    if (this.proven(object)) return;
    const { kind, id } = this.#rows.get(object) as { kind: string; id: string };
    throw notInLog(kind, id);
  }

  onMismatch(listener: (mismatch: ObjectMismatch) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  announce(mismatch: ObjectMismatch): void {
    for (const listener of this.#listeners) listener(mismatch);
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
