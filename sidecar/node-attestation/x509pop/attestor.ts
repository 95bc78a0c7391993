import { createPrivateKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { certificatesFromPem, sha256Hex } from '../../../src/common/x509/index.ts';
import { signedBy } from '../key-proof.ts';
import { nodeAttestorType } from '../node-attestor.ts';
import { missingCredential, readPublic, readSecret } from '../secret-file.ts';

/**
 * By a certificate that the node has from another CA. Payload: the chain, leaf first, DER
 * certificates one after the other. Answer: a signature by the key of the leaf.
 */
export const x509pop = nodeAttestorType({
  type: 'x509pop',
  configuration: z.strictObject({
    certificatePath: z
      .string()
      .min(1)
      .describe("PEM chain of the node's own certificate (x509pop)"),
    keyPath: z.string().min(1).describe("PEM key of the node's own certificate"),
  }),
  async evidence({ certificatePath, keyPath }, logger) {
    const chain = certificatesFromPem(await readPublic(certificatePath));
    if (!chain.ok) throw missingCredential(`${certificatePath}: ${chain.error.message}`);
    const keyPem = await readSecret(
      keyPath,
      {
        what: 'key of the node certificate',
        next: 'chmod 0600 it, and have a new certificate made if others could enter its folder',
      },
      logger,
    );
    const privateKey = privateKeyFrom(keyPem, keyPath);
    return {
      payload: Buffer.concat(chain.value),
      name: sha256Hex(chain.value[0] ?? Buffer.alloc(0)),
      once: false,
      answer: ({ message }) => signedBy(privateKey, message),
    };
  },
});

function privateKeyFrom(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // the library's message may quote the file
    throw missingCredential(`${path} holds no private key in PEM`);
  }
}
