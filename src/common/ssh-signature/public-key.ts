import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { strictBase64, WireReader } from './wire.ts';

/** DSA, other curves, and certificates are left out on purpose. */
const sshKeyTypes = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ssh-rsa',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
] as const;
export type SshKeyType = (typeof sshKeyTypes)[number];

export interface SshPublicKey {
  readonly type: SshKeyType;
  /** As in the file and in signatures. */
  readonly blob: Buffer;
  /** `SHA256:` and base64 without padding, as ssh-keygen prints it. */
  readonly fingerprint: string;
  readonly comment: string;
  readonly key: KeyObject;
  /** For a key in a security key: its application, mostly `ssh:`. */
  readonly application?: string;
}

const maximumLineLength = 8_192;
const minimumRsaBits = 2_048;
const maximumRsaBits = 8_192;

/** One line of a .pub or authorized_keys file, without options. Fails with SSH_KEY_INVALID. */
export function parseSshPublicKey(line: string): Result<SshPublicKey> {
  const text = line.trim();
  // eslint-disable-next-line no-control-regex -- a line with another line in it is what must be found
  if (text.length > maximumLineLength || /[\u0000-\u001f\u007f]/.test(text.replaceAll('\t', ' ')))
    return invalid(`it is not one line of at most ${maximumLineLength} characters`);
  const [type, base64, ...comment] = text.split(/[ \t]+/);
  if (!isKeyType(type))
    return invalid(
      'it does not begin with one of ' +
        `${sshKeyTypes.join(', ')}${type?.includes('-cert-v01') === true ? ' (certificates are not taken)' : ''}; ` +
        'options before the type are not taken',
    );
  const blob = strictBase64(base64 ?? '');
  if (blob === undefined) return invalid('its second word is not base64');
  const parsed = parseSshKeyBlob(blob);
  if (!parsed.ok) return parsed;
  if (parsed.value.type !== type)
    return invalid(`the line says ${type}, the key in it is ${parsed.value.type}`);
  return ok({ ...parsed.value, comment: comment.join(' ') });
}

/**
 * RFC 4253 section 6.6, RFC 5656, RFC 8709; PROTOCOL.u2f of OpenSSH for the `sk-` types. Fails with
 * SSH_KEY_INVALID.
 */
export function parseSshKeyBlob(blob: Buffer): Result<SshPublicKey> {
  try {
    const reader = new WireReader(blob);
    const type = reader.name();
    if (!isKeyType(type))
      return invalid(
        `keys of type ${JSON.stringify(type.slice(0, 60))} are not taken; ${sshKeyTypes.join(', ')} are`,
      );
    const jwk = readKey(type, reader);
    const application = type.startsWith('sk-') ? reader.name() : undefined;
    reader.end();
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    const fingerprint = `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
    return ok({
      type,
      blob: Buffer.from(blob),
      fingerprint,
      comment: '',
      key,
      ...(application === undefined ? {} : { application }),
    });
  } catch (thrown) {
    return invalid((thrown as Error).message);
  }
}

/** The key as in a .pub file, without a comment. */
export const sshKeyText = (key: SshPublicKey): string =>
  `${key.type} ${key.blob.toString('base64')}`;

function readKey(type: SshKeyType, reader: WireReader): JsonWebKey {
  switch (type) {
    case 'ssh-ed25519':
    case 'sk-ssh-ed25519@openssh.com': {
      const x = reader.string();
      if (x.length !== 32) throw new RangeError('an Ed25519 key has 32 octets');
      if (isSmallOrder(x))
        throw new RangeError('the point has a small order: anybody could sign for it');
      return { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') };
    }
    case 'ecdsa-sha2-nistp256':
    case 'sk-ecdsa-sha2-nistp256@openssh.com': {
      if (reader.name() !== 'nistp256') throw new RangeError('the curve is not nistp256');
      const point = reader.string();
      if (point.length !== 65 || point[0] !== 4)
        throw new RangeError('the point is not an uncompressed one of 65 octets');
      return {
        kty: 'EC',
        crv: 'P-256',
        x: point.subarray(1, 33).toString('base64url'),
        y: point.subarray(33).toString('base64url'),
      };
    }
    case 'ssh-rsa': {
      const e = reader.positive();
      const n = reader.positive();
      const bits = n.length * 8 - Math.clz32(n[0] as number) + 24;
      if (bits < minimumRsaBits || bits > maximumRsaBits)
        throw new RangeError(
          `an RSA key of ${bits} bits is outside ${minimumRsaBits} to ${maximumRsaBits}`,
        );
      if (((n.at(-1) as number) & 1) === 0) throw new RangeError('the RSA modulus is even');
      if (e.length > 4 || e.readUIntBE(0, e.length) < 65_537 || ((e.at(-1) as number) & 1) === 0)
        throw new RangeError('the RSA exponent is not an odd number from 65537 to 2^32');
      return { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') };
    }
  }
}

/**
 * Encodings of the points of order 1, 2, 4 and 8 (RFC 7748, section 7), sign bit cleared, with
 * those that are not reduced.
 */
const smallOrder: ReadonlySet<string> = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
]);

function isSmallOrder(point: Buffer): boolean {
  const cleared = Buffer.from(point);
  cleared[31] = (cleared[31] as number) & 0x7f;
  return smallOrder.has(cleared.toString('hex'));
}

const isKeyType = (type: string | undefined): type is SshKeyType =>
  (sshKeyTypes as readonly (string | undefined)[]).includes(type);
const invalid = (reason: string): Result<never> =>
  fail('SSH_KEY_INVALID', `the SSH public key can not be taken: ${reason}`);
