import { PkiError } from '../common/errors/index.ts';
import type { NamesDelegation } from '../common/wire/generated/meshca/signing/v1/NamesDelegation.ts';
import type { SignRequest__Output } from '../common/wire/generated/meshca/signing/v1/SignRequest.ts';
import type { Delegation } from '../domain/index.ts';
import type { DelegatedItem } from '../services/services.ts';
import { batchLimit } from './issuer.ts';
import { exchangedKeyMessage } from './messages/acme.ts';
import { tooMany } from './messages/common.ts';
import { signResult } from './messages/issuing.ts';
import type { OperationsOf } from './operation.ts';

export const signingOperations: OperationsOf<'meshca.signing.v1.Signing'> = {
  Sign: {
    admits: 'delegates',
    run: async ({ services }, caller, request, signal) => {
      const { outcomes, rootsDer } = await services.signing.sign(
        caller,
        [delegatedItem(request)],
        signal,
      );
      const outcome = outcomes[0];
      if (outcome === undefined) throw new PkiError('INTERNAL', 'no outcome for the item');
      if (!outcome.ok) throw outcome.error;
      const ofNames = request.spiffeId === '';
      return { ...signResult(outcome).svid, rootsDer: ofNames ? [] : [...rootsDer] };
    },
  },
  SignBatch: {
    admits: 'delegates',
    run: async ({ services }, caller, { items }, signal) => {
      tooMany('items', items.length, batchLimit);
      const { outcomes, rootsDer } = await services.signing.sign(
        caller,
        items.map(delegatedItem),
        signal,
      );
      return { results: outcomes.map(signResult), rootsDer: [...rootsDer] };
    },
  },
  SignStream: { admits: 'delegates' },
  WatchBundle: { admits: 'delegates' },
  GetDelegation: {
    admits: 'delegates',
    run: async ({ services }, caller) => {
      const view = await services.signing.delegation(caller);
      return {
        delegationIds: [...view.delegationIds],
        patterns: [...view.patterns],
        maxTtlSeconds: view.maxTtlSeconds,
        keyTypes: [...view.keyTypes],
        names: view.names.map(namesDelegation),
      };
    },
  },
  ExchangeEabKey: {
    admits: 'delegates',
    run: async ({ services }, caller, { dnsNames, ips, profile }, signal) =>
      exchangedKeyMessage(
        await services.eabExchange.exchange(caller, { dnsNames, ips, profile }, signal),
      ),
  },
  SignDownstreamAuthority: {
    admits: 'workloads',
    run: async ({ services }, caller, { requestId, csrDer, ttlSeconds }, signal) => {
      const { serial, chainDer, notAfter, authorityId, rootsDer } = await services.downstream.sign(
        caller,
        { requestId, csrDer, ttlSeconds },
        signal,
      );
      return { serial, chainDer: [...chainDer], notAfter, authorityId, rootsDer: [...rootsDer] };
    },
  },
};

const namesDelegation = (delegation: Delegation): NamesDelegation => ({
  delegationId: delegation.id,
  profile: delegation.profile,
  dnsPatterns: [...delegation.dnsPatterns],
  ipRanges: [...delegation.ipRanges],
  wildcards: delegation.wildcards,
  maxTtlSeconds: delegation.maxTtlSeconds,
  keyTypes: [...delegation.keyTypes],
});

export const delegatedItem = (request: SignRequest__Output): DelegatedItem => ({
  requestId: request.requestId,
  spiffeId: request.spiffeId,
  dnsNames: request.dnsNames,
  ips: request.ips,
  profile: request.profile,
  csrDer: request.csrDer,
  ttlSeconds: request.ttlSeconds,
});
