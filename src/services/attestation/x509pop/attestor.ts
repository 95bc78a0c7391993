import { z } from 'zod';
import { PkiError, unwrap } from '../../../common/errors/index.ts';
import type { Clock } from '../../../common/runtime/index.ts';
import {
  certificatesFromPem,
  parseCertificate,
  splitDer,
  type VerifiedChain,
} from '../../../common/x509/index.ts';
import { checkKeyProof } from '../key-proof.ts';
import { nodeAttestorType } from '../node-attestor.ts';
import { verifyNodeCertificate } from './node-certificate.ts';
import { openNodeCrls, withoutCrls } from './node-crls.ts';

const maximumChainBytes = 64 * 1024;

/**
 * Attests with a certificate of another CA. Evidence: the chain as concatenated DER certificates,
 * leaf first. Answer: a signature with the key of the leaf.
 */
export const x509pop = nodeAttestorType({
  type: 'x509pop',
  namespace: 'own',
  // the SHA-256 fingerprint of the node's certificate
  isAgentName: (name) => /^[0-9a-f]{64}$/.test(name),
  configuration: z
    .strictObject({
      caFile: z
        .string()
        .min(1)
        .optional()
        .describe('PEM file with the CAs under which node certificates are accepted (x509pop)'),
      crlFile: z
        .string()
        .min(1)
        .optional()
        .describe(
          'PEM file with a CRL of each of these CAs; read again when it changes. A revoked ' +
            'node certificate is refused, and so is each one without a CRL that is valid now',
        ),
    })
    .prefault({}),
  create({ caFile, crlFile }, { clock, readFile }) {
    if (caFile === undefined) return undefined;
    const crls =
      crlFile === undefined
        ? withoutCrls
        : openNodeCrls(() => readFile(crlFile, 'attestation.x509pop.crlFile'), clock);
    const rootsDer = unwrap(certificatesFromPem(readFile(caFile, 'attestation.x509pop.caFile')));
    const verifiedOf = verifiedChains(rootsDer, clock);
    return {
      ...(crlFile === undefined
        ? {}
        : {
            revoked(recorded) {
              const verified = verifiedOf(recorded);
              const refusal = verified === undefined ? undefined : crls.refusalOf(verified);
              return refusal?.code === 'CERTIFICATE_REVOKED' ? refusal : undefined;
            },
          }),
      start(evidence) {
        const chainDer = evidence.length > maximumChainBytes ? undefined : splitDer(evidence);
        if (chainDer?.ok !== true || chainDer.value.length === 0)
          throw new PkiError('ATTESTATION_FAILED', 'the evidence is not a chain of certificates');
        const node = unwrap(verifyNodeCertificate(chainDer.value, rootsDer, clock.now()));
        return Promise.resolve({
          kind: 'challenge',
          payload: Buffer.alloc(0),
          prove(answer, message) {
            checkKeyProof(node.spkiDer, message, answer);
            return Promise.resolve({
              agentName: node.fingerprint,
              selectors: node.selectors,
              use: { kind: 'repeatable' },
              detail: { fingerprint: node.fingerprint },
              recorded: chainDer.value.map((der) => der.toString('base64')),
              // said to the key of the certificate alone
              refusal: crls.refusalOf(node.verified),
            });
          },
        });
      },
    };
  },
});

/**
 * The verified chains of nodes by their recorded texts. Each is verified once as long as its texts
 * are kept: a list of agents asks for hundreds, again and again. Undefined: it can not be verified.
 */
function verifiedChains(
  rootsDer: readonly Buffer[],
  clock: Pick<Clock, 'now'>,
): (recorded: readonly string[]) => VerifiedChain | undefined {
  const known = new WeakMap<readonly string[], VerifiedChain>();
  return (recorded) => {
    const before = known.get(recorded);
    if (before !== undefined) return before;
    const chainDer = recorded.map((text) => Buffer.from(text, 'base64'));
    const leaf = parseCertificate(chainDer[0] ?? Buffer.alloc(0));
    if (!leaf.ok) return undefined;
    // an agent outlives its node certificate, and a revocation counts all the same
    const now = Math.min(clock.now(), leaf.value.notAfter);
    const node = verifyNodeCertificate(chainDer, rootsDer, now);
    if (!node.ok) return undefined;
    known.set(recorded, node.value.verified);
    return node.value.verified;
  };
}
