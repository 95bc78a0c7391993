import { CompactRange, TileCollector } from '../../src/common/tlog/index.ts';
import {
  canonicalBytes,
  leafHash,
  loggedObject,
  type AuditStatement,
  type JoinToken,
} from '../../src/domain/index.ts';
import type { LedgerCopy } from '../../src/ledger/log.ts';
import { PartsDigest } from '../../src/ledger/snapshot-parts.ts';
import type {
  CommittedRecord,
  LogRow,
  LogSeal,
  LogSnapshot,
  LogStep,
  LogStore,
} from '../../src/store/ports/index.ts';
import { event } from '../compliance/store/fixtures.ts';

interface Stored {
  readonly sequence: number;
  canonical: Buffer;
  index: number | undefined;
  readonly seal: LogSeal | undefined;
}

/** The records of a log and the tree over them, in memory; a test alters them as it likes. */
export class MemoryLog {
  readonly rows: Stored[] = [];
  readonly parts = new Map<string, Buffer>();
  snapshots: LogSnapshot[] = [];
  checkpoint: { size: number; root: Buffer; note: string; timeMs: number } | undefined;
  /** No session ever began here. */
  open = false;
  #head = { size: 0, sequence: 0 };
  #range = new CompactRange();
  readonly #tiles = new Map<string, Buffer>();

  /** A record about this token that another process wrote, or an earlier one. */
  add(token: JoinToken, seal?: LogSeal): number {
    return this.addStatement(statementOf(token), seal);
  }

  /** The same with any record. */
  addStatement(statement: AuditStatement, seal?: LogSeal): number {
    const sequence = (this.rows.at(-1)?.sequence ?? 0) + 1;
    this.rows.push({ sequence, canonical: canonicalOf(statement), index: undefined, seal });
    return sequence;
  }

  /** The same, as this process tells its own memory of it. */
  addOwn(token: JoinToken): CommittedRecord {
    const sequence = this.add(token);
    const statement = statementOf(token);
    const canonical = canonicalOf(statement);
    return { sequence, canonical, leafHash: leafHash(canonical), statement };
  }

  /** Takes these records, or all that wait, into the tree under a new checkpoint. */
  grow(
    sequences = this.rows.filter(({ index }) => index === undefined).map((r) => r.sequence),
  ): void {
    const tiles = new TileCollector(({ level, index }) => this.#tiles.get(`${level}/${index}`));
    for (const row of this.rows.filter(({ sequence }) => sequences.includes(sequence))) {
      row.index = this.#range.size;
      this.#range.append(leafHash(row.canonical), tiles.add);
    }
    for (const { address, hashes } of tiles.changed())
      this.#tiles.set(`${address.level}/${address.index}`, hashes);
    this.#head = { size: this.#range.size, sequence: this.rows.at(-1)?.sequence ?? 0 };
    this.checkpoint = { size: this.#range.size, root: this.#range.root(), note: '', timeMs: 0 };
  }

  /** Keeps a snapshot of the tree as it is, made of this. */
  keep(copy: LedgerCopy | undefined): void {
    const { size, sequence } = this.#head;
    const digest = new PartsDigest();
    let parts = 0;
    for (const part of copy?.parts() ?? []) {
      digest.add(part);
      this.parts.set(`${size}/${parts}`, part);
      parts += 1;
    }
    this.snapshots.unshift({
      size,
      root: this.#range.root(),
      sequence,
      parts,
      digest: digest.digest(),
      signature: Buffer.alloc(0),
      timeMs: 0,
    });
  }

  /** What a store shows of it. */
  store(): LogStore {
    const shown: Partial<LogStore> = {
      head: () => Promise.resolve(this.#head),
      latestCheckpoint: () => Promise.resolve(this.checkpoint),
      records: (after, limit) =>
        Promise.resolve(
          this.rows
            .filter(({ sequence }) => sequence > after)
            .slice(0, limit)
            .map(({ sequence, canonical, index }): LogRow => ({ sequence, canonical, index })),
        ),
      sequenceAt: (at) => Promise.resolve(this.rows.find(({ index }) => index === at)?.sequence),
      snapshots: () => Promise.resolve(this.snapshots),
      snapshotPart: (size, position) => Promise.resolve(this.parts.get(`${size}/${position}`)),
      tile: (level, index) => Promise.resolve(this.#tiles.get(`${level}/${index}`)),
      unsequenced: (limit) =>
        Promise.resolve({
          open: this.open,
          records: this.rows
            .filter(({ sequence }) => sequence > this.#head.sequence)
            .slice(0, limit)
            .map(({ sequence, canonical, seal }) => ({ sequence, canonical, seal })),
        }),
      extend: (step: LogStep) => {
        this.grow([...step.taken]);
        return Promise.resolve();
      },
    };
    return shown as LogStore;
  }
}

const statementOf = (token: JoinToken): AuditStatement => ({
  ...event('token.created', token.id),
  object: loggedObject('join-token', token),
});
const canonicalOf = ({ object, ...said }: AuditStatement): Buffer => canonicalBytes(said, object);
