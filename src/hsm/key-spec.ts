import type { KeyType } from '../common/x509/key-type.ts';

interface SpecBase {
  readonly keyType: KeyType;
  readonly hash: 'sha256' | 'sha384';
  /** Length in octets of a signature that the token returns. */
  readonly signatureLength: number;
}

export interface EcSpec extends SpecBase {
  readonly family: 'ec';
  /** DER of the named curve's OID: CKA_EC_PARAMS. */
  readonly params: Buffer;
  /** Octets of an uncompressed point. */
  readonly pointLength: number;
  readonly namedCurve: string;
}

export interface RsaSpec extends SpecBase {
  readonly family: 'rsa';
  readonly modulusBits: number;
}

export type KeySpec = EcSpec | RsaSpec;

const rsa = (keyType: KeyType, modulusBits: number): RsaSpec => ({
  family: 'rsa',
  keyType,
  hash: 'sha256',
  modulusBits,
  signatureLength: modulusBits / 8,
});

/** How each key type is made and signs: with SHA-256; P-384 with SHA-384 (see key-type.ts). */
export const keySpecs: Readonly<Record<KeyType, KeySpec>> = {
  'ec-p256': {
    family: 'ec',
    keyType: 'ec-p256',
    hash: 'sha256',
    params: Buffer.from('06082a8648ce3d030107', 'hex'),
    pointLength: 65,
    namedCurve: 'prime256v1',
    signatureLength: 64,
  },
  'ec-p384': {
    family: 'ec',
    keyType: 'ec-p384',
    hash: 'sha384',
    params: Buffer.from('06052b81040022', 'hex'),
    pointLength: 97,
    namedCurve: 'secp384r1',
    signatureLength: 96,
  },
  'rsa-2048': rsa('rsa-2048', 2048),
  'rsa-3072': rsa('rsa-3072', 3072),
  'rsa-4096': rsa('rsa-4096', 4096),
};

/**
 * DigestInfo up to the digest (RFC 8017, section 9.2, note 1) for SHA-256: CKM_RSA_PKCS pads, but
 * does not name the hash.
 */
export const sha256DigestInfoPrefix = Buffer.from('3031300d060960864801650304020105000420', 'hex');

/** AlgorithmIdentifier of rsaEncryption with its NULL (RFC 8017 appendix A.1). */
export const rsaAlgorithm = Buffer.from('300d06092a864886f70d0101010500', 'hex');
/** OID id-ecPublicKey (RFC 5480 section 2.1.1), DER. */
export const ecPublicKeyOid = Buffer.from('06072a8648ce3d0201', 'hex');
