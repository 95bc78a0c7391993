import { createHash } from 'node:crypto';
import { z } from 'zod';
import { PkiError, unwrap } from '../../../common/errors/index.ts';
import { selectorText } from '../../../common/spiffe/index.ts';
import { nodeAttestorType } from '../node-attestor.ts';
import { once } from '../token-evidence.ts';

/**
 * Attests a machine by a token that its platform gives it, for example the identity token of a
 * cloud. Evidence: the token as text. The issuers are those of `tokens.issuers` with the purpose
 * node.
 */
export const oidc = nodeAttestorType({
  type: 'oidc',
  namespace: 'own',
  // the first half of the SHA-256 of issuer and subject
  isAgentName: (name) => /^[0-9a-f]{32}$/.test(name),
  configuration: z
    .strictObject({
      requiredSelectors: z
        .array(z.string().regex(/^oidc:[^:]+:./))
        .min(1)
        .optional()
        .describe(
          'Claims (oidc:CLAIM:VALUE) that a token must have, all of them; oidc:issuer:NAME names its issuer (oidc)',
        ),
    })
    .prefault({}),
  create({ requiredSelectors }, { verifier }) {
    if (requiredSelectors === undefined) return undefined;
    return {
      async start(evidence, peer) {
        const verified = unwrap(
          await verifier.verify(evidence.toString('utf8'), { purpose: 'node', peer }),
        );
        if (verified.kubernetes !== undefined)
          throw new PkiError('ATTESTATION_FAILED', 'a pod attests with the type k8s_psat');
        const { issuer, subject } = verified;
        // the name of the issuer comes from our configuration, never from a claim
        const selectors = [
          ...verified.selectors.filter(({ value }) => !value.startsWith('issuer:')),
          { type: 'oidc', value: `issuer:${issuer}` },
        ];
        const has = new Set(selectors.map(selectorText));
        const missing = requiredSelectors.filter((text) => !has.has(text));
        if (missing.length > 0)
          throw new PkiError(
            'ATTESTATION_FAILED',
            `the token lacks ${missing.join(', ')}, which attestation.oidc.requiredSelectors of the server asks for`,
          );
        return {
          kind: 'proven',
          agentName: createHash('sha256')
            .update(JSON.stringify([issuer, subject]))
            .digest('hex')
            .slice(0, 32),
          selectors,
          ...once(verified),
        };
      },
    };
  },
});
