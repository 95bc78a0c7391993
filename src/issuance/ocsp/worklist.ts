import { setImmediate } from 'node:timers/promises';
import { parseCertificate, type ParsedCertificate } from '../../common/x509/index.ts';
import { buildOcspTbs, ocspForm } from '../../certs/index.ts';
import type { Authority, OcspLeaf, OcspRecord } from '../../domain/index.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';
import type { OcspPlace, OcspStore } from '../../store/ports/index.ts';
import { RevokedBacklog, type RevokedPart } from './revoked-backlog.ts';
import { contentOf } from './sign-answers.ts';
import { areSignedWith, isSignedWith, type SignedBytes } from './signature.ts';
import type { OcspSigner } from './signers.ts';

export interface WorklistDependencies {
  readonly store: Pick<OcspStore, 'bySerials' | 'due' | 'drop' | 'leaves'>;
  readonly revocations: Pick<LedgerRevocations, 'extent' | 'between'>;
  readonly signer: (sequence: number) => OcspSigner | undefined;
}

/** Leaves of one authority whose answers are signed together. */
export interface Work {
  readonly authority: Authority;
  readonly leaves: readonly OcspLeaf[];
  /**
   * `now`: an answer is missing or wrong. `soon`: it is one of many such. `some time`: nobody waits
   * for it.
   */
  readonly due: 'now' | 'soon' | 'some time';
}

/** So many answers are signed at once: some milliseconds, so that nothing waits for them long. */
const batchSize = 64;
/** The same where nobody waits for them: each batch costs some hand-overs and a commit. */
const largeBatchSize = 128;

/** The time, and what ended before which has ended: 0 by a clock that is not believed. */
export interface WorklistTime {
  readonly now: number;
  readonly validFrom: number;
}

/**
 * What is to be signed next: answers that a revocation has just made wrong, then those about new
 * leaves, then the rest of many revocations, then about leaves that were found without an answer,
 * then those that are due. Owner of what waits.
 */
export class OcspWorklist {
  readonly #dependencies: WorklistDependencies;
  /** By serial: just revoked, and of the rest of many revocations. */
  readonly #revokedNow = new Map<string, OcspLeaf>();
  readonly #revoked = new Map<string, OcspLeaf>();
  readonly #issued = new Map<string, OcspLeaf>();
  readonly #backlogs = new Map<string, RevokedBacklog>();
  /** How far each authority's leaves were looked through; undefined: to the end. */
  readonly #looked = new Map<string, OcspPlace | undefined>();

  constructor(dependencies: WorklistDependencies) {
    this.#dependencies = dependencies;
  }

  get size(): number {
    const rest = [...this.#backlogs.values()].reduce((sum, { waiting }) => sum + waiting, 0);
    return this.#revokedNow.size + this.#revoked.size + this.#issued.size + rest;
  }

  isWaiting(serial: string): boolean {
    return [this.#issued, this.#revokedNow, this.#revoked].some((each) => each.has(serial));
  }

  /** A leaf that was just issued. */
  issued(leaf: OcspLeaf): void {
    this.#issued.set(leaf.serial, leaf);
  }

  /** Its answer is durable. */
  done(leaves: readonly OcspLeaf[]): void {
    for (const waiting of [this.#issued, this.#revokedNow, this.#revoked])
      for (const { serial } of leaves) waiting.delete(serial);
  }

  /** Looks through all leaves again. */
  lookAgain(): void {
    this.#looked.clear();
  }

  /**
   * The next batch; undefined: nothing is to be done now. `ready`: the authorities with a signer.
   * Unless they are complete, an answer without one may have it later. `renewals`: whether that may
   * be a batch for which nobody waits.
   */
  async next(
    {
      ready: answering,
      complete,
      renewals,
    }: {
      readonly ready: readonly Authority[];
      readonly complete: boolean;
      readonly renewals: boolean;
    },
    { now, validFrom }: WorklistTime,
  ): Promise<Work | undefined> {
    for (const authority of answering) {
      await this.#keep(this.#revokedNow, this.#backlogOf(authority).takeNew(), validFrom);
    }
    const urgent =
      this.#waitingOf(this.#revokedNow, answering, 'now') ??
      this.#waitingOf(this.#issued, answering, 'now');
    if (urgent !== undefined) return urgent;
    for (const authority of answering) {
      const rest = await this.#restOf(authority, validFrom);
      if (rest !== undefined) return rest;
    }
    if (!renewals) return undefined;
    for (const authority of answering) {
      const leaves = await this.#unanswered(authority, validFrom);
      if (leaves.length > 0) return { authority, leaves, due: 'some time' };
    }
    return complete ? this.#due(answering, { now, validFrom }) : undefined;
  }

  /** Of many revocations. Ends early when another one came, which goes first. */
  async #restOf(authority: Authority, validFrom: number): Promise<Work | undefined> {
    const backlog = this.#backlogOf(authority);
    for (;;) {
      const waiting = this.#waitingOf(this.#revoked, [authority], 'soon');
      if (waiting !== undefined) return waiting;
      const part = backlog.takeWaiting();
      if (part === undefined) return undefined;
      await this.#keep(this.#revoked, part, validFrom);
      await setImmediate();
      await this.#keep(this.#revokedNow, backlog.takeNew(), validFrom);
      const urgent = this.#waitingOf(this.#revokedNow, [authority], 'now');
      if (urgent !== undefined) return urgent;
    }
  }

  /**
   * Keeps those whose answer does not say that they are revoked, and for what reason. Those who were revoked before the
   * first look and have no answer come later, with all others.
   */
  async #keep(
    waiting: Map<string, OcspLeaf>,
    { entries, isEarlier }: RevokedPart,
    validFrom: number,
  ): Promise<void> {
    const some = entries.filter(({ notAfter }) => notAfter >= validFrom);
    if (some.length === 0) return;
    const answers = await this.#dependencies.store.bySerials(some.map(({ serial }) => serial));
    for (const [index, { serial, authorityId, notAfter, reason }] of some.entries()) {
      const answer = answers[index];
      const said = answer?.revoked;
      const isRight = said !== undefined && (said.reason ?? 'unspecified') === reason;
      if (answer === undefined ? !isEarlier : !isRight)
        waiting.set(serial, { serial, authorityId, notAfter });
    }
  }

  #backlogOf({ id }: Authority): RevokedBacklog {
    let backlog = this.#backlogs.get(id);
    if (backlog === undefined)
      this.#backlogs.set(id, (backlog = new RevokedBacklog(id, this.#dependencies.revocations)));
    return backlog;
  }

  #waitingOf(
    waiting: ReadonlyMap<string, OcspLeaf>,
    answering: readonly Authority[],
    due: 'now' | 'soon',
  ): Work | undefined {
    const limit = due === 'now' ? batchSize : largeBatchSize;
    for (const authority of answering) {
      const leaves = firstOf(waiting, authority.id, limit);
      if (leaves.length > 0) return { authority, leaves, due };
    }
    return undefined;
  }

  /**
   * Leaves of the inventory without an answer, from where the last look ended. Each is one that the
   * authority has signed, whatever the row says.
   */
  async #unanswered(authority: Authority, validFrom: number): Promise<readonly OcspLeaf[]> {
    const { store } = this.#dependencies;
    const authorityId = authority.id;
    const issuer = parseCertificate(authority.certificateDer as Buffer);
    if (!issuer.ok) return [];
    for (;;) {
      const looked = this.#looked.get(authorityId);
      if (looked === undefined && this.#looked.has(authorityId)) return [];
      const of = { authorityId, now: validFrom, form: ocspForm };
      const rows = await store.leaves(of, looked, batchSize);
      this.#looked.set(authorityId, rows.length < batchSize ? undefined : rows.at(-1));
      const leaves = rows.flatMap(({ serial, notAfter, unanswered }) =>
        unanswered !== undefined && isLeafOf(unanswered, serial, issuer.value)
          ? [{ serial, authorityId, notAfter }]
          : [],
      );
      if (leaves.length > 0) return leaves;
      await setImmediate();
    }
  }

  /**
   * Answers that are due. Only those whose signature is that of a signer of ours are signed anew:
   * otherwise whoever writes to the database could have an answer made about any serial.
   */
  async #due(
    answering: readonly Authority[],
    { now, validFrom }: WorklistTime,
  ): Promise<Work | undefined> {
    const { store, signer } = this.#dependencies;
    for (;;) {
      const due = await store.due(now, largeBatchSize);
      if (due.length === 0) return undefined;
      const isOurs = await areSignedWith(due, (answer) =>
        answer.notAfter < validFrom ? undefined : signedBytes(answer, signer(answer.signer)),
      );
      const owned = due.map((answer, at) => {
        const authorityId = isOurs[at] ? signer(answer.signer)?.authorityId : undefined;
        return { answer, authority: answering.find(({ id }) => id === authorityId) };
      });
      const dropped = owned.filter(({ authority }) => authority === undefined);
      if (dropped.length > 0) await store.drop(dropped.map(({ answer }) => answer.serial));
      const authority = owned.find((each) => each.authority !== undefined)?.authority;
      if (authority === undefined) continue;
      const leaves = owned
        .filter((each) => each.authority === authority)
        .map(({ answer: { serial, notAfter } }) => ({
          serial,
          notAfter,
          authorityId: authority.id,
        }));
      return { authority, leaves, due: 'some time' };
    }
  }
}

function firstOf(
  waiting: ReadonlyMap<string, OcspLeaf>,
  authorityId: string,
  limit: number,
): OcspLeaf[] {
  const leaves: OcspLeaf[] = [];
  for (const leaf of waiting.values()) {
    if (leaf.authorityId === authorityId) leaves.push(leaf);
    if (leaves.length === limit) break;
  }
  return leaves;
}

function isLeafOf(der: Buffer, serial: string, issuer: ParsedCertificate): boolean {
  const leaf = parseCertificate(der);
  return (
    leaf.ok &&
    leaf.value.serialHex === serial &&
    leaf.value.issuerDer.equals(issuer.subjectDer) &&
    isSignedWith(issuer, leaf.value.tbsDer, leaf.value.signature)
  );
}

/** undefined: there is no such signer, or the bytes of an earlier form can not be made any more. */
const signedBytes = (answer: OcspRecord, by: OcspSigner | undefined): SignedBytes | undefined =>
  by === undefined || answer.form !== ocspForm
    ? undefined
    : {
        certificate: by.responder.signer,
        bytes: buildOcspTbs(by.responder, contentOf(answer), 'sha1'),
        signature: answer.signatures.sha1,
      };
