import type { SigningHandlers } from '../../common/wire/generated/meshca/signing/v1/Signing.ts';
import type { SignRequest__Output } from '../../common/wire/generated/meshca/signing/v1/SignRequest.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { DelegatedItem, Services } from '../../services/contract.ts';
import { tooMany } from '../convert/common.ts';
import { signResult } from '../convert/issuing.ts';
import type { Guard } from '../guard.ts';
import { batchLimit } from './agent-issuer.ts';
import { delegateOf, unary, workloadOf } from './unary.ts';

export function signingHandlers(
  guard: Guard,
  { signing, downstream }: Pick<Services, 'signing' | 'downstream'>,
): SigningHandlers {
  return {
    Sign: unary(guard, async (context, request) => {
      const { outcomes, rootsDer } = await signing.sign(delegateOf(context), [itemOf(request)]);
      const outcome = outcomes[0];
      if (outcome === undefined) throw new PkiError('INTERNAL', 'no outcome for the item');
      if (!outcome.ok) throw outcome.error;
      return { ...signResult(outcome).svid, rootsDer: [...rootsDer] };
    }),
    SignBatch: unary(guard, async (context, request) => {
      tooMany('items', request.items.length, batchLimit);
      const { outcomes, rootsDer } = await signing.sign(
        delegateOf(context),
        request.items.map(itemOf),
      );
      return { results: outcomes.map(signResult), rootsDer: [...rootsDer] };
    }),
    SignDownstreamAuthority: unary(guard, async (context, { requestId, csrDer, ttlSeconds }) => {
      const { serial, chainDer, notAfter, authorityId, rootsDer } = await downstream.sign(
        workloadOf(context),
        { requestId, csrDer, ttlSeconds },
      );
      return { serial, chainDer: [...chainDer], notAfter, authorityId, rootsDer: [...rootsDer] };
    }),
    GetDelegation: unary(guard, async (context) => {
      const view = await signing.delegation(delegateOf(context));
      return {
        delegationIds: [...view.delegationIds],
        patterns: [...view.patterns],
        maxTtlSeconds: view.maxTtlSeconds,
        keyTypes: [...view.keyTypes],
      };
    }),
  };
}

const itemOf = (request: SignRequest__Output): DelegatedItem => ({
  requestId: request.requestId,
  spiffeId: request.spiffeId,
  dnsNames: request.dnsNames,
  csrDer: request.csrDer,
  ttlSeconds: request.ttlSeconds,
});
