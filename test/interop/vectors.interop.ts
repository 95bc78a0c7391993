import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  DerReader,
  keyTypeOfSpki,
  type ParsedCertificate,
  type SignatureAlgorithm,
} from '../../src/common/x509/index.ts';
import { checkSignature } from '../../src/common/x509/signature-check.ts';
import { readSpki } from '../../src/common/x509/spki.ts';
import { checkProof } from '../../src/hsm/proof.ts';
import { foreignProgram } from './foreign-programs.ts';

/** What the files of Wycheproof hold of signatures and keys. */
interface Vectors {
  readonly testGroups: readonly {
    readonly publicKeyDer?: string;
    readonly tests: readonly Vector[];
  }[];
}
interface Vector {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: 'valid' | 'invalid' | 'acceptable';
  readonly msg: string;
  readonly sig: string;
  /** A SubjectPublicKeyInfo. */
  readonly public: string;
}

const read = (file: string): Vectors =>
  JSON.parse(readFileSync(join(foreignProgram('vectors'), `${file}_test.json`), 'utf8'));
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');

const ecdsa = ['secp256r1', 'secp384r1'].flatMap((curve) =>
  ([256, 384, 512] as const)
    .map((bits) => ({ file: `ecdsa_${curve}_sha${bits}`, algorithm: `ecdsa-sha${bits}` as const }))
    // the one combination without vectors
    .filter(({ file }) => file !== 'ecdsa_secp256r1_sha384'),
);
const rsa = [2048, 3072, 4096].flatMap((size) =>
  ([256, 384, 512] as const).map((bits) => ({
    file: `rsa_signature_${size}_sha${bits}`,
    algorithm: `rsa-sha${bits}` as const,
  })),
);

/** As a certificate of this issuer would be checked. */
function asChild(vector: Vector, spkiDer: Buffer, algorithm: SignatureAlgorithm): boolean {
  const tbsDer = bytes(vector.msg);
  const signature = bytes(vector.sig);
  const child = {
    // links that were good are remembered by all bytes of the child
    raw: Buffer.concat([Buffer.from(`${algorithm} ${vector.tcId} `), tbsDer, signature]),
    ...{ tbsDer, signature, signatureAlgorithm: algorithm },
  };
  return checkSignature(child, { spkiDer } as unknown as ParsedCertificate).ok;
}

const asProof = (vector: Vector, spkiDer: Buffer, algorithm: SignatureAlgorithm): boolean =>
  checkProof({
    ...{ spkiDer, algorithm },
    signedBytes: bytes(vector.msg),
    signature: bytes(vector.sig),
  }).ok;

const named = ({ tcId, comment, result }: Vector): string => `${tcId} ${comment}: ${result}`;

describe('signatures of Wycheproof', () => {
  for (const { file, algorithm } of [...ecdsa, ...rsa])
    test(`${file}: certificates, CRLs and proofs of possession`, () => {
      const wrong: string[] = [];
      const counts = { valid: 0, invalid: 0, acceptable: 0 };
      for (const { publicKeyDer, tests } of read(file).testGroups) {
        const spkiDer = bytes(publicKeyDer as string);
        // of an odd exponent, for instance: no key that we sign for
        const ours = keyTypeOfSpki(spkiDer).ok;
        for (const vector of tests) {
          counts[vector.result] += 1;
          const good = vector.result === 'valid';
          const child = asChild(vector, spkiDer, algorithm);
          const proof = asProof(vector, spkiDer, algorithm);
          if (child && !good) wrong.push(`accepted in a certificate: ${named(vector)}`);
          if (!child && good) wrong.push(`refused in a certificate: ${named(vector)}`);
          if (proof && !good) wrong.push(`accepted as a proof: ${named(vector)}`);
          if (!proof && good && ours) wrong.push(`refused as a proof: ${named(vector)}`);
        }
      }
      assert.deepEqual(wrong, []);
      assert.ok(counts.valid > 5 && counts.invalid > 100, JSON.stringify(counts));
    });
});

describe('public keys of Wycheproof', () => {
  for (const [file, keyType] of [
    ['ecdh_secp256r1', 'ec-p256'],
    ['ecdh_secp384r1', 'ec-p384'],
  ] as const)
    test(`${file}: requests and certificates`, () => {
      const wrong: string[] = [];
      const counts = { valid: 0, invalid: 0, acceptable: 0 };
      for (const { tests } of read(file).testGroups)
        for (const vector of tests) {
          counts[vector.result] += 1;
          const key = keyTypeOfSpki(bytes(vector.public));
          // what is acceptable is another encoding or a curve by its parameters: none of ours; and a
          // good key of the other curve is one that we take
          const other = key.ok && key.value !== keyType;
          if (key.ok !== (vector.result === 'valid') && !other)
            wrong.push(`${key.ok ? 'accepted' : 'refused'}: ${named(vector)}`);
          if (vector.flags.includes('InvalidAsn') && usable(bytes(vector.public)))
            wrong.push(`used in a certificate: ${named(vector)}`);
        }
      assert.deepEqual(wrong, []);
      assert.ok(counts.valid > 100 && counts.invalid + counts.acceptable > 100);
    });
});

/** Read, and imported afterwards: a key of an unknown kind may stand in a certificate. */
function usable(der: Buffer): boolean {
  try {
    const reader = new DerReader(der);
    readSpki(reader);
    reader.end('the key');
    createPublicKey({ key: der, format: 'der', type: 'spki' });
    return true;
  } catch {
    return false;
  }
}
