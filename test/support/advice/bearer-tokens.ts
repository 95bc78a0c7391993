import { done, row, type AdviceRow, type TestName } from './row.ts';
import type { bearerTokenCodes } from '../../../src/common/errors/codes/bearer-tokens.ts';

const pipelines = 'integration/services/tokens/pipelines.test.ts';
const file = 'integration/services/tokens/verifier.test.ts';
const by = (name: string): TestName => [file, name];

export const bearerTokenAdvice = {
  TOKEN_MALFORMED: row(
    'the token has a line end, "Bearer" before it, or a part too much',
    by('a token that is no token is refused: TOKEN_MALFORMED'),
    done('sends the same token as the issuer gave it', 'it counts'),
  ),
  TOKEN_ISSUER_UNKNOWN: row(
    'the issuer is not configured for nodes',
    by('an issuer that is not configured for this way in is refused: TOKEN_ISSUER_UNKNOWN'),
    done('adds the purpose to the issuer in tokens.issuers', 'the same token counts'),
  ),
  TOKEN_ALGORITHM_NOT_ALLOWED: row(
    'the issuer signs with ES384, which is not in its list',
    by('an algorithm outside of the list is refused: TOKEN_ALGORITHM_NOT_ALLOWED'),
    done('adds the algorithm to the list', 'the same token counts'),
  ),
  TOKEN_KEY_UNKNOWN: row(
    'the token is signed with a key that the issuer withdrew',
    by('a key that the issuer withdrew counts no more after the refresh'),
    done('gets a new token from the issuer', 'it counts'),
  ),
  TOKEN_SIGNATURE_INVALID: row(
    'the claims are those of another token',
    by('a signature of another key is refused: TOKEN_SIGNATURE_INVALID'),
    done('sends the token as the issuer gave it', 'it counts'),
  ),
  TOKEN_EXPIRED: row(
    'the clock goes past the end of the token',
    by('an ended token is refused, with the allowed difference of clocks: TOKEN_EXPIRED'),
    done('gets a new token', 'it counts'),
  ),
  TOKEN_NOT_YET_VALID: row(
    'the clock of the issuer is 31 s ahead',
    by('a token of later is refused, with the allowed difference of clocks: TOKEN_NOT_YET_VALID'),
    done('sets the clocks to less than the allowed difference', 'the same token counts'),
  ),
  TOKEN_LIFE_TOO_LONG: row(
    'the token lives a second longer than allowed, or for ever',
    by('a token without an end, or with a far one, is refused: TOKEN_LIFE_TOO_LONG'),
    done('asks the issuer for a token with a shorter life', 'it counts'),
  ),
  TOKEN_AUDIENCE_WRONG: row(
    'the token is for another audience',
    by('a token for others is refused: TOKEN_AUDIENCE_WRONG'),
    done('asks the issuer for a token with this audience among others', 'it counts'),
  ),
  TOKEN_IDENTITY_MISMATCH: row(
    'a proxy of Linkerd asks for the name of another account, or with the token of another',
    [
      'integration/services/control-planes/linkerd.test.ts',
      'that asks for the name of another account is refused: TOKEN_IDENTITY_MISMATCH',
    ],
    done('asks for the name of its own account', 'it gets its certificate'),
  ),
  TOKEN_NOT_BOUND: row(
    'the token of a service account names no pod',
    [
      'integration/services/tokens/kubernetes.test.ts',
      'a token that is bound to no pod is refused: TOKEN_NOT_BOUND',
    ],
    done('uses the token of a pod', 'it counts'),
  ),
  IMPERSONATION_REFUSED: row(
    'a ztunnel asks for the certificate of a pod on its node',
    [
      'integration/services/control-planes/istio.test.ts',
      'any impersonation, also of the caller itself',
    ],
    done('asks for the identity of its own token', 'it gets the certificate', [
      'integration/services/control-planes/istio.test.ts',
      'gives a pod its own identity, with one intermediate an element and all roots last',
    ]),
  ),
  TOKEN_REFUSED: row(
    'the pod behind the token is gone, so that the cluster refuses it',
    [
      'integration/services/tokens/kubernetes.test.ts',
      'what the cluster refuses is refused: TOKEN_REFUSED',
    ],
    done('uses the token of a running pod', 'it counts'),
  ),
  TOKEN_REPLAYED: row(
    'the token is used again with another key',
    [
      pipelines,
      'a token counts once: a second key is refused, and the same key gets the same certificate',
    ],
    done('gets a new token for the next certificate', 'it is issued'),
  ),
  TOKEN_GRANT_AMBIGUOUS: row(
    'two entries give different identities to one token',
    [pipelines, 'where entries give several identities, the job names one: TOKEN_GRANT_AMBIGUOUS'],
    done('names the identity that is wanted', 'the same token leads to it'),
  ),
  TOKEN_ISSUER_UNREACHABLE: row(
    'the issuer is down for longer than its keys are kept',
    by('known keys outlast an outage for the stated time: TOKEN_ISSUER_UNREACHABLE'),
    done('starts the issuer and tries again', 'the same token counts'),
  ),
} as const satisfies Record<keyof typeof bearerTokenCodes, AdviceRow>;
