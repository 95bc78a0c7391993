import { PkiError } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Logger } from '../common/runtime/index.ts';
import { ecdsaNoteKey, formatVerifierKey, inclusionProof, keyInEpoch, verifyInclusion, type NoteKey } from '../common/tlog/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import type { Authority } from '../domain/index.ts';
import type { Signers } from '../hsm/contract.ts';
import type { LeaseStore, LogStore, StoredCheckpoint } from '../store/contract.ts';
import { CheckpointFile } from './checkpoint-file.ts';
import { Sequencer } from './sequencer.ts';
import { openSession, SealCheck, type LogSigner } from './session.ts';
import { withTiles } from './tiles.ts';
import { checkStoredLog, type OutsideCheckpoint } from './start-check.ts';

export interface AuditLogDependencies {
  readonly log: LogStore;
  readonly leases: LeaseStore;
  readonly signers: Pick<Signers, 'sign' | 'useKey'>;
  /** The active authority of kind `log`. */
  readonly authority: Authority;
  readonly trustDomain: TrustDomain;
  readonly checkpointFile: string;
  /** The operator accepts that the database is older than a checkpoint over so many records. */
  readonly acceptRestore?: number | undefined;
  /** Called once after an accepted restore, before anything is signed: what follows from the loss. */
  readonly restored: (lost: OutsideCheckpoint, sequence: number) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Key name and origin of the log of a trust domain. */
export const logOrigin = (trustDomain: TrustDomain): string => `${trustDomain.name}/meshca/audit`;

/** The tree over the audit records while the server runs. */
export class AuditLog {
  readonly key: NoteKey;
  readonly #log: LogStore;
  readonly #file: CheckpointFile;
  readonly #sequencer: Sequencer;
  readonly #listeners = new Set<(checkpoint: StoredCheckpoint) => void>();
  #latest: StoredCheckpoint | undefined;
  #foreign = 0;

  private constructor(log: LogStore, key: NoteKey, file: CheckpointFile, sequencer: (log: AuditLog) => Sequencer) {
    this.#log = log;
    this.key = key;
    this.#file = file;
    this.#sequencer = sequencer(this);
  }

  /**
   * Checks what is stored, begins the session under which this process writes, and takes up what the last one left. After
   * this every record is in the tree within a second.
   * @throws PkiError AUDIT_INVALID, TREE_TRUNCATED, HSM_*
   */
  static async open(dependencies: AuditLogDependencies): Promise<AuditLog> {
    const { log, leases, signers, authority, clock, logger } = dependencies;
    const spkiDer = authority.spkiDer as Buffer;
    const origin = logOrigin(dependencies.trustDomain);
    const baseKey = ecdsaNoteKey(origin, spkiDer);
    // proves that the token holds this very key: the row alone would not
    await signers.useKey({ ckaId: authority.ckaId, keyType: authority.keyType, spkiDer });
    const sign: LogSigner = async (text) => {
      const [outcome] = await signers.sign([{ ckaId: authority.ckaId, bytes: Buffer.from(text, 'utf8'), format: 'x509' }]);
      if (outcome?.ok !== true) throw new PkiError(outcome?.code ?? 'HSM_UNAVAILABLE', outcome?.message ?? 'the signer gave no answer');
      return outcome.signature;
    };
    const file = new CheckpointFile(dependencies.checkpointFile);
    const stored = await checkStoredLog(log, baseKey, await file.newest(baseKey), dependencies.acceptRestore);
    // what was lost can not be under a tree that leaves it out, so that a restored log goes on under another origin
    const key = keyInEpoch(baseKey, stored.lost === undefined ? stored.epoch : Math.max(stored.epoch, stored.lost.epoch) + 1);
    const seals = new SealCheck({ origin, logSpkiDer: spkiDer });
    const audit = new AuditLog(log, key, file, (self) => new Sequencer({
      log, leases, sign, seals, key, holder: uuidv7(clock.nowMs()), clock, logger, publish: (checkpoint) => self.#publish(checkpoint, logger),
      onForeign: ({ sequence, reason }) => {
        self.#foreign += 1;
        logger.error({ code: 'AUDIT_INVALID', sequence, reason }, 'a row of the audit table was not written by a server: it stays out of the log');
      },
    }));
    try {
      // what the last process left comes in under its own seals, before this one writes
      await audit.#sequencer.catchUp();
      const { session, seal } = await openSession({ sign, signer: authority.id, origin, clock });
      await log.beginSession(session, seal);
      if (stored.lost !== undefined) {
        await dependencies.restored(stored.lost, (await log.head()).sequence);
        await audit.#sequencer.catchUp();
      }
      audit.#latest ??= await log.latestCheckpoint();
    } catch (thrown) {
      await audit.close();
      throw thrown;
    }
    return audit;
  }

  get origin(): string {
    return this.key.name;
  }

  get latest(): StoredCheckpoint | undefined {
    return this.#latest;
  }

  /** Rows found since the start that no server wrote. */
  get foreignRecords(): number {
    return this.#foreign;
  }

  get size(): number {
    return this.#sequencer.size;
  }

  /** As `vkey` text, for whoever checks exports. */
  verifierKey(): string {
    return formatVerifierKey(this.key);
  }

  /** Whether the record of this sequence has this hash, by an inclusion proof under the newest checkpoint, or because this process wrote it. */
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
    const at = index;
    try {
      const proof = await withTiles(this.#log, (read) => inclusionProof(at, head.size, read));
      return verifyInclusion({ index: at, size: head.size, leaf: leafHash, proof, root: head.root });
    } catch (thrown) {
      if (thrown instanceof RangeError) return false;
      throw thrown;
    }
  }

  /** All records that are durable now are in the tree on return. */
  catchUp(): Promise<void> {
    return this.#sequencer.catchUp();
  }

  onCheckpoint(listener: (checkpoint: StoredCheckpoint) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#sequencer.close();
    await this.#file.close();
  }

  async #publish(checkpoint: StoredCheckpoint, logger: Logger): Promise<void> {
    this.#latest = checkpoint;
    logger.info({ size: checkpoint.size, root: checkpoint.root.toString('base64') }, 'checkpoint of the audit log');
    for (const listener of this.#listeners) listener(checkpoint);
    try {
      await this.#file.append(checkpoint.note, checkpoint.timeMs);
    } catch (thrown) {
      logger.error({ error: (thrown as Error).message }, 'the checkpoint could not be written to its file');
    }
  }
}
