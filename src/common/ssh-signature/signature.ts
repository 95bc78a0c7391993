import { createHash, verify as verifyBytes } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { parseSshKeyBlob, type SshPublicKey } from './public-key.ts';
import { strictBase64, WireReader, wireString } from './wire.ts';

/** A parsed, unverified signature by `ssh-keygen -Y sign` (PROTOCOL.sshsig of OpenSSH). */
export interface SshSignature {
  readonly publicKey: SshPublicKey;
  readonly namespace: string;
  readonly hash: 'sha256' | 'sha512';
  readonly algorithm: string;
  readonly signature: Buffer;
  /** Of keys in a security key (PROTOCOL.u2f). */
  readonly securityKey?: { readonly flags: number; readonly counter: number };
}

/** The facts in a valid signature. */
export interface SshSignatureFacts {
  readonly publicKey: SshPublicKey;
  /**
   * For a key in a security key: whether it checked PIN or fingerprint, and how often it has
   * signed.
   */
  readonly securityKey?: { readonly userVerified: boolean; readonly counter: number };
}

const preamble = Buffer.from('SSHSIG');
const begin = '-----BEGIN SSH SIGNATURE-----';
const end = '-----END SSH SIGNATURE-----';
const maximumLength = 16_384;
const userPresent = 0x01;
const userVerified = 0x04;

/** Which signature algorithms go with which key; SHA-1 is none of them. */
const algorithms = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
  'sk-ssh-ed25519@openssh.com': ['sk-ssh-ed25519@openssh.com'],
  'sk-ecdsa-sha2-nistp256@openssh.com': ['sk-ecdsa-sha2-nistp256@openssh.com'],
} as const;

/**
 * Strict: one armored block, canonical base64, version 1, nothing reserved, nothing behind. Fails
 * with SSH_SIGNATURE_INVALID or SSH_KEY_INVALID.
 */
export function parseSshSignature(armored: string): Result<SshSignature> {
  if (armored.length > maximumLength)
    return invalid(`it is longer than ${maximumLength} characters`);
  const lines = armored.replaceAll('\r\n', '\n').trim().split('\n');
  if (lines[0] !== begin || lines.at(-1) !== end || lines.length < 3)
    return invalid(`it is not one block from "${begin}" to "${end}"`);
  const body = lines.slice(1, -1);
  if (body.some((line) => line.length === 0 || line.length > 76))
    return invalid('a line of the block is empty or longer than 76 characters');
  const blob = strictBase64(body.join(''));
  if (blob === undefined) return invalid('the block is not base64');
  try {
    return readBlob(blob);
  } catch (thrown) {
    return invalid((thrown as Error).message);
  }
}

function readBlob(blob: Buffer): Result<SshSignature> {
  const reader = new WireReader(blob);
  if (!reader.take(preamble.length).equals(preamble))
    return invalid('it does not begin with SSHSIG');
  if (reader.uint32() !== 1) return invalid('its version is not 1');
  const publicKey = parseSshKeyBlob(reader.string());
  if (!publicKey.ok) return publicKey;
  const namespace = reader.name();
  if (namespace === '') return invalid('its namespace is empty');
  if (reader.string().length > 0) return invalid('its reserved field is not empty');
  const hash = reader.name();
  if (hash !== 'sha256' && hash !== 'sha512') return invalid(`its hash is ${JSON.stringify(hash)}`);
  const inner = new WireReader(reader.string());
  reader.end();
  const algorithm = inner.name();
  const { type } = publicKey.value;
  if (!(algorithms[type] as readonly string[]).includes(algorithm))
    return invalid(
      `the algorithm ${JSON.stringify(algorithm)} does not belong to a key of type ${type}`,
    );
  const signature = Buffer.from(inner.string());
  const securityKey = type.startsWith('sk-')
    ? { flags: inner.uint8(), counter: inner.uint32() }
    : undefined;
  inner.end();
  return ok({
    publicKey: publicKey.value,
    namespace,
    hash,
    algorithm,
    signature,
    ...(securityKey === undefined ? {} : { securityKey }),
  });
}

/**
 * Verifies a signature over `message` in `namespace` by the key that it names. The caller decides
 * whether that key counts. A security key must have been touched. Fails with SSH_SIGNATURE_INVALID.
 */
export function verifySshSignature(
  parsed: SshSignature,
  message: Buffer,
  namespace: string,
): Result<SshSignatureFacts> {
  if (parsed.namespace !== namespace)
    return invalid(
      `its namespace is ${JSON.stringify(parsed.namespace)}, not ${JSON.stringify(namespace)}`,
    );
  const digest = createHash(parsed.hash).update(message).digest();
  const signed = Buffer.concat([
    preamble,
    wireString(namespace),
    wireString(''),
    wireString(parsed.hash),
    wireString(digest),
  ]);
  const { publicKey, securityKey } = parsed;
  if (securityKey !== undefined && (securityKey.flags & userPresent) === 0)
    return invalid('the security key was not touched');
  let valid: boolean;
  try {
    valid = verifies(
      parsed,
      securityKey === undefined ? signed : securityKeyBytes(publicKey, securityKey, signed),
    );
  } catch (thrown) {
    return invalid((thrown as Error).message);
  }
  if (!valid) return invalid('it does not verify');
  return ok({
    publicKey,
    ...(securityKey === undefined
      ? {}
      : {
          securityKey: {
            userVerified: (securityKey.flags & userVerified) !== 0,
            counter: securityKey.counter,
          },
        }),
  });
}

function verifies({ publicKey, algorithm, signature }: SshSignature, signed: Buffer): boolean {
  switch (algorithm) {
    case 'ssh-ed25519':
    case 'sk-ssh-ed25519@openssh.com':
      return signature.length === 64 && verifyBytes(null, signed, publicKey.key, signature);
    case 'rsa-sha2-512':
    case 'rsa-sha2-256':
      return verifyBytes(
        algorithm === 'rsa-sha2-512' ? 'sha512' : 'sha256',
        signed,
        publicKey.key,
        signature,
      );
    default:
      return verifyBytes(
        'sha256',
        signed,
        { key: publicKey.key, dsaEncoding: 'ieee-p1363' },
        fixedLength(signature),
      );
  }
}

/** Two mpints → r and s of 32 octets each. */
function fixedLength(signature: Buffer): Buffer {
  const reader = new WireReader(signature);
  const numbers = [reader.positive(), reader.positive()];
  reader.end();
  return Buffer.concat(
    numbers.map((number) => {
      if (number.length > 32)
        throw new RangeError('a number of the signature is longer than the curve');
      return Buffer.concat([Buffer.alloc(32 - number.length), number]);
    }),
  );
}

/** The bytes that the security key itself signs, with its application and counter. */
function securityKeyBytes(
  { application }: SshPublicKey,
  { flags, counter }: { readonly flags: number; readonly counter: number },
  signed: Buffer,
): Buffer {
  const tail = Buffer.alloc(5);
  tail.writeUInt8(flags);
  tail.writeUInt32BE(counter, 1);
  return Buffer.concat([
    createHash('sha256')
      .update(application ?? '', 'latin1')
      .digest(),
    tail,
    createHash('sha256').update(signed).digest(),
  ]);
}

const invalid = (reason: string): Result<never> =>
  fail('SSH_SIGNATURE_INVALID', `the SSH signature can not be taken: ${reason}`);
