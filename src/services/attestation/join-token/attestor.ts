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

/** Attests with a token that an operator made for this node. Evidence: the token as text. */
export const joinToken = nodeAttestorType({
  type: 'join_token',
  namespace: 'operator',
  // the name was checked when the token was made
  isAgentName: () => true,
  configuration: z.strictObject({}).prefault({}),
  create: (_configuration, dependencies) => joinTokenAttestor(dependencies),
});

const joinTokenAttestor = ({ tokens, clock }: NodeAttestorDependencies): NodeAttestor => ({
  async start(evidence) {
    const token = evidence.toString('utf8');
    if (token === '' || evidence.length > maximumTokenLength) throw unknownToken();
    const hash = createHash('sha256').update(token).digest();
    const row = await tokens.byHash(hash.toString('hex'));
    if (
      row === undefined ||
      !timingSafeEqual(Buffer.from(row.tokenSha256, 'hex'), hash) ||
      row.expiresAt <= clock.now()
    )
      throw unknownToken();
    return {
      kind: 'proven',
      agentName: SpiffeId.of(row.agentId).segments.at(-1) as string,
      selectors: row.nodeSelectors,
      use: { kind: 'token', tokenId: row.id, refused: unknownToken },
      detail: { token: row.id },
    };
  },
});

const unknownToken = (): PkiError =>
  new PkiError(
    'JOIN_TOKEN_INVALID',
    'the join token is unknown, expired, or was used with another key',
  );
