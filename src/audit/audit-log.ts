import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger, uuidv7 } from '../common/runtime/index.ts';
import { formatVerifierKey, keyInEpoch, type NoteKey } from '../common/tlog/index.ts';
import type { Authority } from '../domain/index.ts';
import type { Signers } from '../hsm/signing-port.ts';
import { isUnder, type LedgerLog } from '../ledger/index.ts';
import type { LeaseStore, LogSnapshot, StoredCheckpoint } from '../store/ports/index.ts';
import { Basis, type SnapshotLimits } from './basis.ts';
import { CheckpointFile, type LogKeys } from './checkpoint-file.ts';
import {
  findAuthorities,
  logOrigin,
  noteKeyOf,
  signText,
  useKeyOf,
  type LogAuthorities,
  type LogAuthorityDependencies,
} from './log-authorities.ts';
import { Lateness } from './lateness.ts';
import { Sequencer } from './sequencer.ts';
import type { ProofSinceStart } from './start-proof.ts';
import { openSession, SealCheck, type LogSigner } from './session.ts';
import { DatabaseStaleness } from './staleness.ts';
import { checkStoredLog, type OutsideCheckpoint, type Staleness } from './start-check.ts';

export interface AuditLogDependencies extends LogAuthorityDependencies {
  readonly log: LedgerLog;
  readonly leases: LeaseStore;
  readonly signers: Pick<Signers, 'sign' | 'useKey'>;
  readonly checkpointFile: string;
  /**
   * Called when an operator accepts a restore, before anything is signed: handles the consequences
   * of the loss. `sequence`: the last record that was in the tree when this process started.
   */
  readonly restored: (lost: OutsideCheckpoint, sequence: number, actor: string) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly snapshots?: SnapshotLimits;
}

/** The result of the check at start. */
interface LogAtStart {
  readonly epoch: number;
  readonly file: CheckpointFile;
  readonly basis: LogSnapshot | undefined;
}

/** The tree over the audit records while the server runs. Owner of who signs it, and with what. */
export class AuditLog {
  readonly #dependencies: AuditLogDependencies;
  #baseKey: NoteKey;
  readonly #log: LedgerLog;
  readonly #file: CheckpointFile;
  readonly #sequencer: Sequencer;
  readonly #listeners = new Set<(checkpoint: StoredCheckpoint) => void>();
  readonly #basis: Basis;
  readonly #staleness: DatabaseStaleness;
  readonly #lateness: Lateness;
  /** The authority whose key signs. */
  #signer: Authority;
  /** All authorities whose keys this log has or had. */
  readonly #authorities: Authority[];
  readonly #seals: SealCheck;
  readonly #sign: LogSigner;
  #key: NoteKey;
  #epoch: number;
  #latest: StoredCheckpoint | undefined;
  #foreign = 0;

  private constructor(
    dependencies: AuditLogDependencies,
    { signer, ours }: LogAuthorities,
    { epoch, file, basis }: LogAtStart,
  ) {
    const { log, leases, clock, logger } = dependencies;
    const baseKey = noteKeyOf(dependencies, signer);
    const seals = new SealCheck({
      origin: baseKey.name,
      logSpkisDer: ours.map(({ spkiDer }) => spkiDer as Buffer),
    });
    this.#authorities = [...ours];
    this.#signer = signer;
    this.#seals = seals;
    const sign: LogSigner = (text) => signText(text, this.#signer, dependencies.signers);
    this.#sign = sign;
    this.#dependencies = dependencies;
    this.#log = log;
    this.#staleness = new DatabaseStaleness({ log, file, clock, logger });
    this.#lateness = new Lateness({
      waitingMs: () => this.#sequencer.waitingMs,
      excused: () => this.#staleness.stale !== undefined,
      signer: () => this.#signer,
      changed: () => this.#staleness.announce(),
      logger,
    });
    this.#baseKey = baseKey;
    this.#epoch = epoch;
    this.#key = keyInEpoch(baseKey, epoch);
    this.#file = file;
    this.#basis = new Basis(
      {
        log,
        sign,
        origin: baseKey.name,
        clock,
        logger,
        limits: dependencies.snapshots,
        atRest: (work) => this.#sequencer.atRest(work),
        latest: () => this.#latest,
        damaged: () => this.#staleness.announce(),
      },
      basis,
    );
    this.#sequencer = new Sequencer({
      log,
      leases,
      sign,
      seals,
      key: () => this.#key,
      held: () => this.#staleness.held,
      holder: uuidv7(clock.nowMs()),
      clock,
      logger,
      publish: (checkpoint) => this.#publish(checkpoint, logger),
      grown: this.#basis.grown,
      looked: () => this.#lateness.judge(),
      onForeign: (row) => this.#foreignRow(row),
    });
  }

  /**
   * Checks the stored log, begins the session under which this process writes, and takes up the
   * records that the last process left. Afterwards every record is in the tree within a second. If
   * the database is `stale` instead, the tree does not grow until `accept`.
   *
   * @throws PkiError AUDIT_INVALID, TREE_TRUNCATED, HSM_*
   */
  static async open(dependencies: AuditLogDependencies): Promise<AuditLog> {
    const { log, authority, others = [] } = dependencies;
    const authorities = await findAuthorities(dependencies);
    const { signer } = authorities;
    const key = noteKeyOf(dependencies, authority);
    const file = new CheckpointFile(dependencies.checkpointFile);
    const stored = await checkStoredLog(
      log,
      key,
      await file.outside(key, ...others.map((other) => noteKeyOf(dependencies, other))),
    );
    const audit = new AuditLog(dependencies, authorities, {
      epoch: stored.epoch,
      file,
      basis: log.basis(),
    });
    audit.#latest = await log.latestCheckpoint();
    audit.#staleness.begin((await log.head()).sequence, audit.#latest?.size ?? 0);
    if (stored.newer !== undefined)
      audit.#staleness.become(stored.newer, stored.newer.foundBy, audit.#latest);
    try {
      // records of the last process come in under its own seals, before this process writes
      if (audit.#staleness.held) await audit.#sequencer.vouchPending();
      else await audit.#sequencer.catchUp();
      // the records that were just taken up may prove further authorities
      for (const other of others) if (dependencies.proven(other)) audit.#accept(other);
      await audit.#beginSession();
      await audit.#basis.snapshotAtRest({ wanted: signer !== authority });
    } catch (thrown) {
      await audit.close();
      throw thrown;
    }
    audit.#basis.checkInBackground();
    if (signer !== authority) audit.#sayWhoSigns();
    return audit;
  }

  /** The authority whose key signs checkpoints. */
  get signer(): Authority {
    return this.#signer;
  }

  /**
   * Lets the key of another log authority take over, since the token of the present one is lost.
   * All waiting records get into the tree under a checkpoint of the new key, and later records are
   * sealed under it. Two facts show that the key is ours: the record of its authority is in the
   * tree that the lost key has signed, and its token holds it.
   *
   * @throws PkiError HSM_*, CONFLICT while the database is stale
   */
  async adopt(authority: Authority): Promise<void> {
    if (this.#staleness.stale !== undefined)
      throw new PkiError(
        'CONFLICT',
        'the database is older than what was signed: accept its loss first (meshca restore accept)',
      );
    await useKeyOf(authority, this.#dependencies);
    this.#accept(authority);
    this.#signer = authority;
    this.#baseKey = noteKeyOf(this.#dependencies, authority);
    this.#key = keyInEpoch(this.#baseKey, this.#epoch);
    await this.#sequencer.catchUp();
    await this.#beginSession();
    await this.#sequencer.catchUp();
    await this.#basis.snapshotAtRest({ wanted: true });
    this.#sayWhoSigns();
  }

  #foreignRow({ sequence, reason }: { readonly sequence: number; readonly reason: string }): void {
    this.#foreign += 1;
    this.#dependencies.logger.error(
      { code: 'AUDIT_INVALID', sequence, reason },
      'a row of the audit table was not written by a server: it stays out of the log',
    );
  }

  #accept(authority: Authority): void {
    if (this.#authorities.some(({ id }) => id === authority.id)) return;
    this.#authorities.push(authority);
    this.#seals.accept(authority.spkiDer as Buffer);
  }

  #sayWhoSigns(): void {
    const { id, token } = this.#signer;
    this.#dependencies.logger.warn(
      { authority: id, token, verifierKey: this.verifierKey(), alert: true },
      'from now on another key signs the audit log',
    );
  }

  async #beginSession(): Promise<void> {
    const { session, seal } = await openSession({
      sign: this.#sign,
      signer: this.#signer.id,
      origin: logOrigin(this.#dependencies.trustDomain),
      clock: this.#dependencies.clock,
    });
    await this.#log.beginSession(session, seal);
  }

  /** The key in the present epoch. Its name is the origin. */
  get key(): NoteKey {
    return this.#key;
  }

  /**
   * Set if the database is older than what was signed, or differs from it. Nothing may be signed
   * then.
   */
  get stale(): Staleness | undefined {
    return this.#staleness.stale;
  }

  /**
   * Set if a record that the start has skipped differs from the one that was signed. Nothing may be
   * signed any more. The next start reads all records and refuses to start.
   */
  get damage(): PkiError | undefined {
    return this.#basis.damage;
  }

  /** The snapshots, and how many of the skipped records were checked since. */
  get basis(): Pick<Basis, 'damage' | 'snapshot' | 'review'> {
    return this.#basis;
  }

  /** How long the oldest record without a checkpoint has waited; 0: none waits. */
  get waitingSeconds(): number {
    return this.#sequencer.waitingMs / 1_000;
  }

  /** Whether records have waited for a checkpoint so long that an operator must act. */
  get late(): boolean {
    return this.#lateness.late;
  }

  /** Whether somebody has shown since the start that the database is the one of the last run. */
  get sinceStart(): ProofSinceStart {
    return this.#staleness.sinceStart;
  }

  /** Called when `stale`, `damage` or `late` changed. Returns the unsubscribe function. */
  onStale(listener: () => void): () => void {
    return this.#staleness.onChange(listener);
  }

  /**
   * Judges a checkpoint that somebody else kept. It counts only with a valid signature of the log's
   * key, so that a lie can not make a database look stale. A checkpoint that the tree does not
   * contain makes the database `stale`.
   */
  seen(note: string, from: string): Promise<'unknown' | 'contained' | 'stale'> {
    return this.#staleness.see(note, { from, latest: this.#latest, keys: this.#keys() });
  }

  /**
   * An operator accepts the loss and states the size of the newer checkpoint. The log continues
   * under another origin, because a tree without the lost records can not continue the old one.
   *
   * @throws PkiError CONFLICT (not stale, or another size), HSM_*
   */
  accept(size: number, actor: string): Promise<void> {
    return this.#staleness.accept(size, {
      restore: async ({ newer, sequence }) => {
        await this.#dependencies.restored(newer, sequence, actor);
        this.#epoch = Math.max(this.#epoch, newer.epoch) + 1;
        this.#key = keyInEpoch(this.#baseKey, this.#epoch);
      },
      goOn: () => this.#sequencer.catchUp(),
    });
  }

  get origin(): string {
    return this.#key.name;
  }

  get latest(): StoredCheckpoint | undefined {
    return this.#latest;
  }

  /** The number of rows since the start that no server wrote. */
  get foreignRecords(): number {
    return this.#foreign;
  }

  get size(): number {
    return this.#sequencer.size;
  }

  /** The other keys that this log has or had, as `vkey` text. */
  otherKeys(): readonly string[] {
    return this.#authorities
      .filter(({ id }) => id !== this.#signer.id)
      .map((other) => formatVerifierKey(noteKeyOf(this.#dependencies, other)));
  }

  #keys(): LogKeys {
    return [
      this.#key,
      ...this.#authorities
        .filter(({ id }) => id !== this.#signer.id)
        .map((other) => noteKeyOf(this.#dependencies, other)),
    ];
  }

  /** The key as `vkey` text, to verify exports. */
  verifierKey(): string {
    return formatVerifierKey(this.#key);
  }

  /**
   * Whether the record of this sequence has this hash: by an inclusion proof under the newest
   * checkpoint, or because this process wrote it.
   */
  async holds(sequence: number, leafHash: Buffer): Promise<boolean> {
    const pending = this.#log.pendingHash(sequence);
    if (pending !== undefined) return pending.equals(leafHash);
    let [index] = await this.#log.indexesOf([sequence]);
    if (index === undefined || index >= (this.#latest?.size ?? 0)) {
      await this.catchUp();
      [index] = await this.#log.indexesOf([sequence]);
    }
    const head = this.#latest;
    if (index === undefined || head === undefined || index >= head.size) return false;
    return isUnder(this.#log, head, index, leafHash);
  }

  /** On return, all records that were durable at the call are in the tree. */
  catchUp(): Promise<void> {
    return this.#sequencer.catchUp();
  }

  onCheckpoint(listener: (checkpoint: StoredCheckpoint) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#sequencer.catchUp().catch(() => {});
    await this.#basis.close();
    await this.#sequencer.close();
    await this.#file.close();
  }

  async #publish(checkpoint: StoredCheckpoint, logger: Logger): Promise<void> {
    this.#latest = checkpoint;
    logger.info(
      { size: checkpoint.size, root: checkpoint.root.toString('base64') },
      'checkpoint of the audit log',
    );
    for (const listener of this.#listeners) listener(checkpoint);
    try {
      await this.#file.append(checkpoint.note, checkpoint.timeMs);
    } catch (thrown) {
      logger.error({ ...errorFields(thrown) }, 'the checkpoint could not be written to its file');
    }
  }
}
