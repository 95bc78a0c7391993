import { PkiError } from '../errors/index.ts';
import type { Checkpoint } from './checkpoint.ts';
import { CompactRange } from './compact-range.ts';
import { ExportedActivations, type RecordedActivation } from './export-activations.ts';
import { ExportKeys } from './export-keys.ts';
import {
  columnsMatch,
  invalid,
  noExport,
  parseLine,
  recordVersion,
  type ExportLine,
} from './export-line.ts';
import { hashBytes, leafHash } from './hash.ts';
import {
  checkNote,
  cosignedAt,
  formatVerifierKey,
  parseVerifierKey,
  type NoteKey,
} from './note.ts';
import { baseOfOrigin } from './origin.ts';
import { tileWidth } from './tiles.ts';

export interface VerifyOptions {
  /**
   * The log's key from another source. Absent: the key in the file, which does not prove who made
   * it.
   */
  readonly key?: NoteKey;
  /** An earlier checkpoint, which the log must contain. */
  readonly since?: Buffer | string;
  /** Keys of witnesses: each must have cosigned. */
  readonly witnesses?: readonly NoteKey[];
}

export interface ExportVerdict {
  readonly origin: string;
  readonly verifierKey: string;
  /** Records under the newest checkpoint. */
  readonly size: number;
  /** The time of the last record under it, 0 if there is none. Its place in the tree is `size`. */
  readonly lastTimeMs: number;
  readonly checkpoints: number;
  /**
   * For each given witness, the newest checkpoint that it cosigned. Size and time (Unix seconds)
   * are 0 if there is none.
   */
  readonly cosigned: readonly {
    readonly witness: string;
    readonly size: number;
    readonly time: number;
  }[];
  /**
   * Records outside the tree, according to the file alone: those that wait for it, and those that
   * no server wrote, by reason.
   */
  readonly waiting: number;
  readonly out: readonly { readonly sequence: number; readonly reason: string }[];
  /**
   * Activations under the checkpoints: those with a list of consumers in the file that agrees with
   * the record, and those whose record names no list (a first start, an older server).
   */
  readonly activations: { readonly withList: number; readonly without: number };
}

/**
 * Verifies an export, line by line, with nothing but the lines.
 * @throws PkiError AUDIT_INVALID, or EVIDENCE_INVALID for the list of an activation; its detail
 * names the first record that is wrong as `sequence` where one can be told
 */
export async function verifyExport(
  lines: AsyncIterable<string> | Iterable<string>,
  options: VerifyOptions = {},
): Promise<ExportVerdict> {
  const check = new ExportCheck(options);
  let isFirst = true;
  let number = 0;
  for await (const text of lines) {
    number += 1;
    if (text === '') continue;
    naming(number, () => check.line(parseLine(text, isFirst)));
    isFirst = false;
  }
  if (isFirst) throw noExport('the file is empty');
  return check.verdict();
}

/** Adds the line to an error. A failure after an altered line is not a defect of ours. */
function naming(line: number, act: () => void): void {
  try {
    act();
  } catch (thrown) {
    if (!(thrown instanceof PkiError))
      throw new PkiError('AUDIT_INVALID', `line ${line}: it can not be read`, { detail: { line } });
    const { code, message, next, detail } = thrown;
    throw new PkiError(code, `line ${line}: ${message}`, { next, detail: { ...detail, line } });
  }
}

class ExportCheck {
  readonly #options: VerifyOptions;
  readonly #range = new CompactRange();
  readonly #out: { sequence: number; reason: string }[] = [];
  #keys: ExportKeys | undefined;
  #since: Checkpoint | undefined;
  #log: { readonly origin: string; readonly verifierKey: string } | undefined;
  #tile: { readonly index: number; readonly hashes: Buffer } | undefined;
  #newest: Checkpoint | undefined;
  #atNewest = { sequence: 0, timeMs: 0 };
  #last = { sequence: 0, timeMs: 0 };
  #lastLeaf = { sequence: 0, timeMs: 0 };
  #checkpoints = 0;
  #sinceSeen = false;
  #ended: number | undefined;
  readonly #activations = new ExportedActivations();
  readonly #cosigned = new Map<NoteKey, { readonly size: number; readonly time: number }>();

  constructor(options: VerifyOptions) {
    this.#options = options;
  }

  line(line: ExportLine): void {
    if (this.#ended !== undefined) throw invalid('the file goes on behind its end');
    if (this.#log === undefined && line.type !== 'log')
      throw invalid('the file does not begin with the log it is of');
    if (line.type !== 'evidence' && line.type !== 'evidence-lines') this.#activations.end();
    switch (line.type) {
      case 'log':
        this.#begin(line);
        break;
      case 'tile':
        this.#tile = { index: line.index, hashes: Buffer.from(line.hashes, 'base64') };
        break;
      case 'record':
        this.#record(line);
        break;
      case 'evidence':
      case 'evidence-lines':
        this.#activations.part(line);
        break;
      case 'checkpoint':
        this.#checkpoint(line.note);
        break;
      case 'end':
        this.#ended = line.size;
    }
  }

  verdict(): ExportVerdict {
    if (this.#log === undefined || this.#ended === undefined)
      throw invalid('the file is not complete: it has no end');
    if (this.#ended !== (this.#newest?.size ?? 0))
      throw invalid(
        `the file ends at ${this.#ended} records, its newest checkpoint is over ${this.#newest?.size ?? 0}`,
      );
    if (this.#range.size > this.#ended)
      throw invalid(
        `record ${this.#lastLeaf.sequence} claims a place in the tree that no checkpoint covers`,
        this.#lastLeaf.sequence,
      );
    this.#keys?.assertVouchedFor();
    const since = this.#since;
    if (since !== undefined && !this.#sinceSeen)
      throw invalid(
        `the end is cut off: the checkpoint that was given is over ${since.size} records, ` +
          `this file has ${this.#ended} under a checkpoint`,
        undefined,
        { missingFrom: this.#ended },
      );
    const waiting = this.#out.filter(({ reason }) => reason === 'waiting').length;
    return {
      ...this.#log,
      origin: this.#newest?.origin ?? this.#log.origin,
      size: this.#ended,
      lastTimeMs: this.#atNewest.timeMs,
      checkpoints: this.#checkpoints,
      cosigned: (this.#options.witnesses ?? []).map((key) => ({
        witness: key.name,
        size: 0,
        time: 0,
        ...this.#cosigned.get(key),
      })),
      waiting,
      out: this.#out.filter(({ reason }) => reason !== 'waiting'),
      activations: this.#activations.counts(),
    };
  }

  #begin({ origin, verifierKey, otherKeys, version }: Extract<ExportLine, { type: 'log' }>): void {
    if (this.#log !== undefined) throw invalid('the file begins twice');
    if (version !== 1)
      throw invalid(`the file is of format ${String(version)}, this release reads 1`);
    const inFile = parseVerifierKey(verifierKey);
    const key = this.#options.key ?? (inFile.ok ? inFile.value : undefined);
    if (key === undefined) throw invalid('the verifier key in the file is not valid');
    if (baseOfOrigin(origin) !== baseOfOrigin(key.name))
      throw invalid(
        `the file is of the log ${JSON.stringify(origin.slice(0, 120))}, the key is of ${key.name}`,
      );
    const keys = new ExportKeys(key, origin, [verifierKey, ...(otherKeys ?? [])]);
    this.#keys = keys;
    // the first line is unproven until a checkpoint confirms it
    this.#log = { origin: baseOfOrigin(origin), verifierKey: formatVerifierKey(key) };
    if (this.#options.since !== undefined) {
      const opened = keys.open(this.#options.since);
      if (!opened.ok) throw opened.error;
      this.#since = opened.value;
      this.#compareSince();
    }
  }

  #record(line: Extract<ExportLine, { type: 'record' }>): void {
    const { sequence, index } = line;
    if (!(sequence > this.#last.sequence))
      throw invalid(`record ${sequence} stands behind record ${this.#last.sequence}`, sequence);
    this.#last = { sequence, timeMs: line.timeMs };
    const canonical = Buffer.from(line.canonical, 'utf8');
    if (index === undefined) {
      this.#out.push({ sequence, reason: line.out ?? 'no reason is given' });
      return;
    }
    if (index !== this.#range.size)
      throw invalid(
        `record ${sequence} stands at place ${index} of the tree where ${this.#range.size} ` +
          'is next: a record before it is gone',
        this.#lastLeaf.sequence + 1,
      );
    const leaf = leafHash(canonical);
    const expected = this.#expected(index);
    if (expected === undefined)
      throw invalid(`the tree has no hash for record ${sequence}`, sequence);
    if (!leaf.equals(expected))
      throw invalid(
        `record ${sequence} is not the one in the tree: it was changed, or moved`,
        sequence,
      );
    if (!columnsMatch(line, canonical))
      throw invalid(
        `the columns of record ${sequence} say something else than the record itself`,
        sequence,
      );
    this.#range.append(leaf);
    this.#keys?.record(canonical, this.#range.size);
    if (canonical.includes('"authority.active"'))
      this.#activations.record(
        JSON.parse(canonical.toString('utf8').slice(recordVersion.length)) as RecordedActivation,
        sequence,
      );
    this.#lastLeaf = { sequence, timeMs: line.timeMs };
    this.#compareSince();
  }

  #checkpoint(note: string): void {
    const opened = this.#keys?.openAny(note);
    if (opened === undefined) throw invalid('a checkpoint stands before the log');
    if (!opened.ok)
      throw invalid(
        `behind record ${this.#lastLeaf.sequence}: ${opened.error.message}`,
        undefined,
        { afterSequence: this.#lastLeaf.sequence },
      );
    const { size, root } = opened.value;
    if (size > this.#range.size)
      throw invalid(
        `the checkpoint over ${size} records stands behind ${this.#range.size}: records are gone`,
        this.#lastLeaf.sequence + 1,
      );
    if (size < this.#range.size)
      throw invalid(`the checkpoint over ${size} records stands behind ${this.#range.size}`);
    if (!root.equals(this.#range.root())) {
      throw invalid(
        `the records after ${this.#atNewest.sequence} up to ${this.#lastLeaf.sequence} are not those that were signed`,
        this.#atNewest.sequence + 1,
        { until: this.#lastLeaf.sequence },
      );
    }
    this.#countCosignatures(opened.value);
    this.#newest = opened.value;
    this.#atNewest = this.#lastLeaf;
    this.#checkpoints += 1;
  }

  #countCosignatures({ note, size }: Checkpoint): void {
    for (const key of this.#options.witnesses ?? []) {
      const found = checkNote(note, key);
      if (found === 'invalid')
        throw invalid(
          `behind record ${this.#lastLeaf.sequence}: the cosignature of ${key.name} does not verify`,
          undefined,
          { afterSequence: this.#lastLeaf.sequence },
        );
      const line = note.signatures.find(
        (each) => each.name === key.name && each.keyId.equals(key.id),
      );
      if (found === 'valid' && line !== undefined)
        this.#cosigned.set(key, { size, time: cosignedAt(line) });
    }
  }

  #compareSince(): void {
    if (this.#since === undefined || this.#since.size !== this.#range.size) return;
    if (!this.#since.root.equals(this.#range.root()))
      throw invalid(
        `the first ${this.#since.size} records are not those of the checkpoint that was given: the log was rewritten`,
      );
    this.#sinceSeen = true;
  }

  #expected(index: number): Buffer | undefined {
    if (this.#tile?.index !== Math.floor(index / tileWidth)) return undefined;
    const at = (index % tileWidth) * hashBytes;
    return this.#tile.hashes.length >= at + hashBytes
      ? this.#tile.hashes.subarray(at, at + hashBytes)
      : undefined;
  }
}
