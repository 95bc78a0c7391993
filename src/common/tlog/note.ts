import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';

/** Signature types of C2SP signed-note that are checked here. */
export const noteTypes = { ed25519: 1, ecdsa: 2, cosignature: 4 } as const;
type NoteType = (typeof noteTypes)[keyof typeof noteTypes];

/** A key under which signature lines of a note count. */
export interface NoteKey {
  readonly name: string;
  readonly type: NoteType;
  /** Four bytes. */
  readonly id: Buffer;
  readonly publicKey: KeyObject;
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: Buffer;
  readonly signature: Buffer;
}

export interface Note {
  /** Ends in a newline; what is signed. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const maximumBytes = 64 * 1024;
const maximumSignatures = 32;
const ed25519Prefix = Buffer.from('302a300506032b6570032100', 'hex');

/** A key name has neither Unicode spaces nor `+`. */
const isKeyName = (name: string): boolean => name !== '' && !/[\s+\u0085]/u.test(name);

/** ECDSA (type 2): the key ID is the beginning of the SHA-256 of the SubjectPublicKeyInfo. */
export function ecdsaNoteKey(name: string, spkiDer: Buffer): NoteKey {
  return {
    name,
    type: noteTypes.ecdsa,
    id: createHash('sha256').update(spkiDer).digest().subarray(0, 4),
    publicKey: createPublicKey({ key: spkiDer, format: 'der', type: 'spki' }),
  };
}

/**
 * The `vkey` text of a key: `name+key ID in hex+base64(type and public key)`. ECDSA keys as
 * SubjectPublicKeyInfo, Ed25519 ones as their 32 bytes.
 */
export function formatVerifierKey(key: NoteKey): string {
  const spki = key.publicKey.export({ format: 'der', type: 'spki' });
  const bytes = key.type === noteTypes.ecdsa ? spki : spki.subarray(-32);
  return `${key.name}+${key.id.toString('hex')}+${Buffer.concat([Buffer.from([key.type]), bytes]).toString('base64')}`;
}

export function parseVerifierKey(text: string): Result<NoteKey> {
  const match = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text.trim());
  const bytes = Buffer.from(match?.[3] ?? '', 'base64');
  const [type] = bytes;
  const bad = (why: string): Result<never> =>
    fail('CHECKPOINT_INVALID', `the verifier key ${JSON.stringify(text.slice(0, 80))} ${why}`);
  if (match === null || !isKeyName(match[1] as string) || bytes.length < 33)
    return bad('is not name+hash+base64');
  const name = match[1] as string;
  const id = Buffer.from(match[2] as string, 'hex');
  try {
    if (type === noteTypes.ecdsa) {
      const key = ecdsaNoteKey(name, bytes.subarray(1));
      return key.id.equals(id) && key.publicKey.asymmetricKeyType === 'ec'
        ? ok(key)
        : bad('has another key ID than its key');
    }
    if (type !== noteTypes.ed25519 && type !== noteTypes.cosignature)
      return bad(`is of type ${type}; ECDSA (2), Ed25519 (1) and witness keys (4) are known`);
    const raw = bytes.subarray(1);
    const expected = createHash('sha256')
      .update(`${name}\n`)
      .update(Buffer.from([type]))
      .update(raw)
      .digest()
      .subarray(0, 4);
    if (raw.length !== 32 || !expected.equals(id)) return bad('has another key ID than its key');
    return ok({
      name,
      type,
      id,
      publicKey: createPublicKey({
        key: Buffer.concat([ed25519Prefix, raw]),
        format: 'der',
        type: 'spki',
      }),
    });
  } catch {
    return bad('holds no public key');
  }
}

/** Strict: valid UTF-8, no control characters, the text and at least one signature line. */
export function parseNote(bytes: Buffer | string): Result<Note> {
  const bad = (why: string): Result<never> => fail('CHECKPOINT_INVALID', `the note ${why}`);
  const whole = typeof bytes === 'string' ? bytes : bytes.toString('utf8');
  if (whole.length > maximumBytes) return bad(`has more than ${maximumBytes} bytes`);
  if (typeof bytes !== 'string' && !Buffer.from(whole, 'utf8').equals(bytes))
    return bad('is not UTF-8');
  // eslint-disable-next-line no-control-regex -- control characters are exactly what is refused
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole)) return bad('has control characters');
  const end = whole.lastIndexOf('\n\n');
  if (end < 0 || !whole.endsWith('\n')) return bad('has no signatures');
  const lines = whole.slice(end + 2, -1).split('\n');
  if (lines.length > maximumSignatures) return bad(`has more than ${maximumSignatures} signatures`);
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const signature = parseSignatureLine(line);
    if (signature === undefined) return bad('has a line among its signatures that is none');
    signatures.push(signature);
  }
  return ok({ text: whole.slice(0, end + 1), signatures });
}

export function parseSignatureLine(line: string): NoteSignature | undefined {
  const match = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
  const bytes = Buffer.from(match?.[2] ?? '', 'base64');
  if (
    match === null ||
    bytes.length < 5 ||
    bytes.toString('base64') !== match[2] ||
    !isKeyName(match[1] as string)
  )
    return undefined;
  return { name: match[1] as string, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

export const signatureLine = ({ name, keyId, signature }: NoteSignature): string =>
  `\u2014 ${name} ${Buffer.concat([keyId, signature]).toString('base64')}\n`;
export const formatNote = (note: Note): string =>
  `${note.text}\n${note.signatures.map(signatureLine).join('')}`;

/**
 * Adds the signatures of the second note to the first. Undefined if their texts differ. The later
 * signature of a key counts.
 */
export function mergeNotes(one: string, other: string): string | undefined {
  const [kept, added] = [parseNote(one), parseNote(other)];
  if (!kept.ok || !added.ok || kept.value.text !== added.value.text) return undefined;
  const same = (a: NoteSignature, b: NoteSignature): boolean =>
    a.name === b.name && a.keyId.equals(b.keyId);
  const signatures = [
    ...kept.value.signatures.filter(
      (each) => !added.value.signatures.some((later) => same(each, later)),
    ),
    ...added.value.signatures,
  ];
  // the log's own signature stays first and unchanged
  const first = kept.value.signatures[0] as NoteSignature;
  return formatNote({
    text: kept.value.text,
    signatures: [first, ...signatures.filter((each) => !same(each, first))],
  });
}

/** When a witness made its cosignature (C2SP tlog-cosignature), Unix seconds. */
export const cosignedAt = ({ signature }: NoteSignature): number =>
  signature.length === 72 ? Number(signature.readBigUInt64BE(0)) : 0;

/**
 * `absent`: the note has no line of this key. `invalid`: a line of this key does not verify, so
 * refuse the whole note.
 */
export function checkNote(note: Note, key: NoteKey): 'valid' | 'absent' | 'invalid' {
  const mine = note.signatures.filter(
    (each) => each.name === key.name && each.keyId.equals(key.id),
  );
  if (mine.length === 0) return 'absent';
  return mine.every(({ signature }) => verifies(note.text, key, signature)) ? 'valid' : 'invalid';
}

function verifies(text: string, key: NoteKey, signature: Buffer): boolean {
  try {
    if (key.type === noteTypes.ecdsa)
      return verify('sha256', Buffer.from(text, 'utf8'), key.publicKey, signature);
    if (key.type === noteTypes.ed25519)
      return verify(null, Buffer.from(text, 'utf8'), key.publicKey, signature);
    // C2SP tlog-cosignature: eight bytes of time, then Ed25519 over a header with it and the note
    if (signature.length !== 72) return false;
    const time = signature.readBigUInt64BE(0);
    return verify(
      null,
      Buffer.from(`cosignature/v1\ntime ${time}\n${text}`, 'utf8'),
      key.publicKey,
      signature.subarray(8),
    );
  } catch {
    return false;
  }
}
