import { ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import type { Selector, TrustDomain } from '../../src/common/spiffe/index.ts';
import type { SignX509SvidsRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import type { Identity } from '../ports/entries.ts';
import type { CertifiedKey, CsrSigner } from '../ports/svids.ts';
import { verifySigned } from './signed.ts';
import { refusalError } from './signing-queue.ts';

export interface CsrSigningDependencies {
  readonly trustDomain: TrustDomain;
  readonly roots: () => readonly Buffer[];
  readonly sign: (request: SignX509SvidsRequest) => Promise<SignX509SvidsResponse__Output>;
}

/** Certifies keys that stay with their callers. Each request is one call, and nothing is retried. */
export const csrSigner = ({ trustDomain, roots, sign }: CsrSigningDependencies): CsrSigner => ({
  async certify(
    identity: Identity,
    selectors: readonly Selector[],
    csr,
  ): Promise<Result<CertifiedKey>> {
    const { requestId, csrDer, spkiDer, ttlSeconds } = csr;
    const { results } = await sign({
      items: [
        {
          ...{ requestId, csrDer, ttlSeconds },
          entryId: identity.entry.id,
          selectors: [...selectors],
          clampTtl: true,
        },
      ],
    });
    const [result] = results;
    if (result === undefined || result.requestId !== requestId)
      throw new PkiError('INTERNAL', 'the server answered another request than the one sent');
    const { svid } = result;
    if (!svid) return { ok: false, error: refusalError(result.refusal ?? undefined) };
    verifySigned({ svid, key: { spkiDer } }, identity.spiffeId, trustDomain, roots());
    return ok({ chainDer: svid.chainDer, notAfter: svid.notAfter });
  },
});
