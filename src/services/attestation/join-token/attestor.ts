import { createHash, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { PkiError } from '../../../common/errors/index.ts';
import { SpiffeId } from '../../../common/spiffe/index.ts';
import {
  nodeAttestorType,
  type NodeAttestor,
  type NodeAttestorDependencies,
} from '../node-attestor.ts';

const maximumTokenLength = 256;

/** By a token that an operator made for this node. Evidence: the token as text. */
export const joinToken = nodeAttestorType({
  type: 'join_token',
  namespace: 'operator',
  // whoever made the token has checked the name
  isAgentName: () => true,
  configuration: z.strictObject({}).prefault({}),
  create: (_configuration, dependencies) => joinTokenAttestor(dependencies),
});

const joinTokenAttestor = ({ tokens, clock }: NodeAttestorDependencies): NodeAttestor => ({
  async start(evidence) {
    const token = evidence.toString('utf8');
    if (token === '' || evidence.length > maximumTokenLength) throw unknownToken();
    const hash = createHash('sha256').update(token).digest();
    const found = await tokens.byHash(hash.toString('hex'));
    if (
      found === undefined ||
      !timingSafeEqual(Buffer.from(found.tokenSha256, 'hex'), hash) ||
      found.expiresAt <= clock.now()
    )
      throw unknownToken();
    return {
      kind: 'proven',
      agentName: SpiffeId.of(found.agentId).segments.at(-1) as string,
      selectors: found.nodeSelectors,
      use: { kind: 'token', tokenId: found.id, refused: unknownToken },
      detail: { token: found.id },
    };
  },
});

const unknownToken = (): PkiError =>
  new PkiError(
    'JOIN_TOKEN_INVALID',
    'the join token is unknown, expired, or was used with another key',
  );
