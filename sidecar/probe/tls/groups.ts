import { createECDH, createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto';
import { ProbeFailure } from '../failure.ts';

/** One offered key. */
export interface KeyShare {
  readonly group: number;
  readonly publicKey: Buffer;
  /** The shared secret with the server's part. Throws ProbeFailure for what is no such part. */
  agree(peer: Buffer): Buffer;
}

const x25519Group = 0x001d;
/** Named curves with uncompressed points, and the length of such a point (RFC 8446 4.2.8.2). */
const curves: ReadonlyMap<number, readonly [name: string, pointLength: number]> = new Map([
  [0x0017, ['prime256v1', 65]],
  [0x0018, ['secp384r1', 97]],
  [0x0019, ['secp521r1', 133]],
]);

/** Supported groups, the preferred first. */
export const groups: readonly number[] = [x25519Group, ...curves.keys()];
/** Groups whose keys the first ClientHello offers. */
export const offeredFirst: readonly number[] = [x25519Group, 0x0017];

/** SubjectPublicKeyInfo of X25519 without the key (RFC 8410 section 4). */
const x25519Prefix = Buffer.from('302a300506032b656e032100', 'hex');

export function createKeyShare(group: number): KeyShare {
  if (group === x25519Group) return x25519Share();
  const curve = curves.get(group);
  if (curve === undefined) throw new ProbeFailure(`the server wants the unknown group ${group}`);
  const [name, pointLength] = curve;
  const ecdh = createECDH(name);
  return {
    group,
    publicKey: ecdh.generateKeys(),
    agree: (peer) =>
      agreed(() => {
        if (peer.length !== pointLength || peer[0] !== 4) throw new Error('no uncompressed point');
        return ecdh.computeSecret(peer);
      }),
  };
}

function x25519Share(): KeyShare {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    group: x25519Group,
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(x25519Prefix.length),
    agree: (peer) =>
      agreed(() => {
        if (peer.length !== 32) throw new Error('no key of 32 octets');
        const key = Buffer.concat([x25519Prefix, peer]);
        return diffieHellman({
          privateKey,
          publicKey: createPublicKey({ key, type: 'spki', format: 'der' }),
        });
      }),
  };
}

function agreed(agree: () => Buffer): Buffer {
  try {
    return agree();
  } catch (thrown) {
    throw new ProbeFailure("the server's part of the key exchange is malformed", { cause: thrown });
  }
}
