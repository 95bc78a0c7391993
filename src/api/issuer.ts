import { exchangedKeyMessage } from './messages/acme.ts';
import { selectorsOf, tooMany } from './messages/common.ts';
import { agentSvidMessage, svidResult } from './messages/issuing.ts';
import { explanationMessage } from './messages/tokens.ts';
import type { OperationsOf } from './operation.ts';

/** Maximum number of items in one batch of certificates. */
export const batchLimit = 500;

const maximumVersion = 64;

export const nodeAttestationOperations: OperationsOf<'meshca.issuer.v1.NodeAttestation'> = {
  Attest: { admits: 'strangers' },
  FetchBundleSteps: {
    admits: 'strangers',
    run: async ({ services }, _caller, { sequence }) => {
      const steps = await services.attestation.bundleSteps(sequence);
      return { steps: steps.map((step) => ({ sequence: step.sequence, jws: step.jws })) };
    },
  },
};

export const agentIssuerOperations: OperationsOf<'meshca.issuer.v1.AgentIssuer'> = {
  RenewAgent: {
    admits: 'agents',
    run: async ({ services }, caller, { requestId, csrDer, agentVersion }, signal) =>
      agentSvidMessage(
        await services.attestation.renew(
          caller,
          { requestId, csrDer, agentVersion: agentVersion.slice(0, maximumVersion) },
          signal,
        ),
      ),
  },
  SignX509Svids: {
    admits: 'agents',
    run: async ({ services }, caller, { items }, signal) => {
      tooMany('items', items.length, batchLimit);
      const outcomes = await services.svids.signX509(
        caller,
        items.map((item) => ({ ...item, selectors: selectorsOf(item.selectors) })),
        signal,
      );
      return { results: outcomes.map(svidResult) };
    },
  },
  SignJwtSvid: {
    admits: 'agents',
    run: async ({ services }, caller, request, signal) => {
      const { token, spiffeId, issuedAt, expiresAt, serverTime } = await services.svids.signJwt(
        caller,
        { ...request, selectors: selectorsOf(request.selectors) },
        signal,
      );
      return { token, spiffeId, issuedAt, expiresAt, serverTime };
    },
  },
  Sync: { admits: 'agents' },
};

export const pipelineOperations: OperationsOf<'meshca.issuer.v1.Pipelines'> = {
  IssueWithToken: {
    admits: 'strangers',
    run: async ({ services }, caller, request, signal) => {
      const { leaf, entryId, rootsDer } = await services.pipelines.issue(caller, request, signal);
      const { spiffeId, serial, chainDer, notBefore, notAfter, authorityId } = leaf;
      return {
        ...{ spiffeId, serial, notBefore, notAfter, authorityId, entryId },
        chainDer: [...chainDer],
        rootsDer: [...rootsDer],
      };
    },
  },
  ExplainToken: {
    admits: 'strangers',
    run: async ({ services }, caller, { token }, signal) =>
      explanationMessage(await services.pipelines.explain(caller, token, signal)),
  },
  ExchangeToken: {
    admits: 'strangers',
    run: async ({ services }, caller, request, signal) =>
      exchangedKeyMessage(await services.eabExchange.exchangeToken(caller, request, signal)),
  },
};

export const tokenCertificateOperations: OperationsOf<'meshca.issuer.v1.TokenCertificates'> = {
  EndTokenCertificate: {
    admits: 'workloads',
    run: ({ services }, caller) => services.pipelines.end(caller),
  },
};
