import { createHash } from 'node:crypto';
import { openCheckpoint, parseCheckpoint } from './checkpoint.ts';
import { invalid, recordVersion } from './export-line.ts';
import { parseVerifierKey, type NoteKey } from './note.ts';
import { baseOfOrigin, epochOfOrigin, keyInEpoch } from './origin.ts';

const maximumKeys = 20;

interface OtherKey {
  readonly key: NoteKey;
  /** The size of the tree under the record that names it. */
  namedAt: number;
  trusted: boolean;
  used: boolean;
}

type Opened = ReturnType<typeof openCheckpoint>;

/**
 * The keys whose checkpoints count in an export: the key of the log, and keys in the file that the
 * log itself names. Such a key is trusted when a checkpoint of a trusted key covers the record that
 * names it.
 */
export class ExportKeys {
  readonly #key: NoteKey;
  /** By the SHA-256 of their SubjectPublicKeyInfo. */
  readonly #others = new Map<string, OtherKey>();

  constructor(key: NoteKey, origin: string, keysInFile: readonly string[]) {
    this.#key = key;
    for (const text of keysInFile.slice(0, maximumKeys + 1)) {
      const other = parseVerifierKey(text);
      if (
        other.ok &&
        !other.value.publicKey.equals(key.publicKey) &&
        baseOfOrigin(other.value.name) === baseOfOrigin(origin)
      )
        this.#others.set(spkiSha256(other.value), {
          key: other.value,
          namedAt: Infinity,
          trusted: false,
          used: false,
        });
    }
  }

  /**
   * Called for each record that is proven to be in the tree. `size`: the records of the tree up to
   * this one. A record must name a new key of the log, with its digest, before the key may sign.
   */
  record(canonical: Buffer, size: number): void {
    if (this.#others.size === 0 || !canonical.includes('"authority.prepared"')) return;
    const { kind, detail } = JSON.parse(canonical.toString('utf8').slice(recordVersion.length)) as {
      readonly kind?: unknown;
      readonly detail?: { readonly authorityKind?: unknown; readonly spkiSha256?: unknown };
    };
    const other =
      kind === 'authority.prepared' && detail?.authorityKind === 'log'
        ? this.#others.get(String(detail.spkiSha256))
        : undefined;
    if (other !== undefined) other.namedAt = Math.min(other.namedAt, size);
  }

  /** Opens a checkpoint of the log's key, under the origin of its epoch. Epochs only grow. */
  open(note: Buffer | string): Opened {
    return openUnder(this.#key, note);
  }

  /**
   * Opens a checkpoint of the log's key, or of a key that the log names. A checkpoint of a trusted
   * key makes the keys trusted that its records name.
   */
  openAny(note: string): Opened {
    const opened = this.open(note);
    let trusted = opened.ok;
    let found = opened;
    if (!opened.ok) {
      for (const other of this.#others.values()) {
        if (other.namedAt === Infinity) continue;
        const by = openUnder(other.key, note);
        if (!by.ok) continue;
        other.used = true;
        trusted = other.trusted;
        found = by;
      }
    }
    if (found.ok && trusted)
      for (const other of this.#others.values())
        if (other.namedAt <= found.value.size) other.trusted = true;
    return found;
  }

  /** @throws PkiError AUDIT_INVALID if a key signed for which no trusted key vouches */
  assertVouchedFor(): void {
    for (const { key, trusted, used } of this.#others.values())
      if (used && !trusted)
        throw invalid(
          `checkpoints are signed by the key ${key.id.toString('hex')}, which no checkpoint ` +
            "of the log's key vouches for",
        );
  }
}

function openUnder(key: NoteKey, note: Buffer | string): Opened {
  const parsed = parseCheckpoint(note);
  const epoch = parsed.ok ? epochOfOrigin(baseOfOrigin(key.name), parsed.value.origin) : undefined;
  return openCheckpoint(note, keyInEpoch(key, epoch ?? 0));
}

const spkiSha256 = ({ publicKey }: NoteKey): string =>
  createHash('sha256')
    .update(publicKey.export({ format: 'der', type: 'spki' }))
    .digest('hex');
