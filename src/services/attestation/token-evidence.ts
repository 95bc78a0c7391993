import { PkiError } from '../../common/errors/index.ts';
import { validSelectors, type Selector } from '../../common/spiffe/index.ts';
import type { VerifiedToken } from '../tokens/token-verifier.ts';
import type { NodeProof } from './node-attestor.ts';

/** What tokens of others have in common as evidence: each lets one node in, once. */
export const once = (token: VerifiedToken): Pick<NodeProof, 'use' | 'detail'> => ({
  use: {
    kind: 'identity-token',
    token,
    refused: () =>
      new PkiError(
        'TOKEN_REPLAYED',
        'the token already led to another certificate; it counts once',
      ),
  },
  detail: { issuer: token.issuer, tokenSubject: token.subject, use: token.useId },
});

/** Values that can not be a selector are left out, never changed. */
export const tokenSelectors = (type: string, values: readonly string[]): readonly Selector[] =>
  validSelectors(values.map((value) => `${type}:${value}`));
