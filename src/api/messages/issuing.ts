import type { AgentSvid as AgentSvidMessage } from '../../common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import type { X509SvidResult } from '../../common/wire/generated/meshca/issuer/v1/X509SvidResult.ts';
import type { SignResult } from '../../common/wire/generated/meshca/signing/v1/SignResult.ts';
import type { IssuedLeaf } from '../../issuance/index.ts';
import type { AgentSvid, SvidOutcome } from '../../services/services.ts';
import { problemOf } from './common.ts';

export const agentSvidMessage = ({ leaf, bundle }: AgentSvid): AgentSvidMessage => ({
  spiffeId: leaf.spiffeId,
  serial: leaf.serial,
  chainDer: [...leaf.chainDer],
  notBefore: leaf.notBefore,
  notAfter: leaf.notAfter,
  lifetimeSeconds: leaf.lifetimeSeconds,
  serverTime: leaf.serverTime,
  bundle: { sequence: bundle.sequence, jws: bundle.jws },
});

/** Empty: names without an identity. */
const identityIn = ({ spiffeId }: IssuedLeaf): string =>
  spiffeId.startsWith('spiffe://') ? spiffeId : '';

export function svidResult(outcome: SvidOutcome): X509SvidResult {
  if (!outcome.ok)
    return {
      requestId: outcome.requestId,
      refusal: { ...problemOf(outcome.error, false), refusalId: outcome.refusalId },
    };
  const { leaf } = outcome;
  return {
    requestId: outcome.requestId,
    svid: {
      spiffeId: identityIn(leaf),
      serial: leaf.serial,
      chainDer: [...leaf.chainDer],
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      lifetimeSeconds: leaf.lifetimeSeconds,
      serverTime: leaf.serverTime,
      authorityId: leaf.authorityId,
      namesRootsDer: [...(outcome.namesRootsDer ?? [])],
    },
  };
}

export function signResult(outcome: SvidOutcome): SignResult {
  if (!outcome.ok)
    return {
      requestId: outcome.requestId,
      refusal: { ...problemOf(outcome.error, false), refusalId: outcome.refusalId },
    };
  const { leaf } = outcome;
  return {
    requestId: outcome.requestId,
    svid: {
      requestId: outcome.requestId,
      spiffeId: identityIn(leaf),
      serial: leaf.serial,
      chainDer: [...leaf.chainDer],
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      authorityId: leaf.authorityId,
    },
  };
}
