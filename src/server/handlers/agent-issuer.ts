import type { AgentIssuerHandlers } from '../../common/wire/generated/meshca/issuer/v1/AgentIssuer.ts';
import type { NodeAttestation, Svids, Sync } from '../../services/contract.ts';
import { selectorsOf, tooMany } from '../convert/common.ts';
import { agentSvidMessage, svidResult } from '../convert/issuing.ts';
import type { Guard } from '../guard.ts';
import { syncStream } from './sync-stream.ts';
import { agentOf, unary } from './unary.ts';

export const batchLimit = 500;

export function agentIssuerHandlers(
  guard: Guard,
  services: { readonly attestation: NodeAttestation; readonly svids: Svids; readonly sync: Sync },
): AgentIssuerHandlers {
  return {
    RenewAgent: unary(guard, async (context, request) =>
      agentSvidMessage(
        await services.attestation.renew(agentOf(context), {
          requestId: request.requestId,
          csrDer: request.csrDer,
          agentVersion: request.agentVersion.slice(0, 64),
        }),
      ),
    ),
    SignX509Svids: unary(guard, async (context, request) => {
      tooMany('items', request.items.length, batchLimit);
      const outcomes = await services.svids.signX509(
        agentOf(context),
        request.items.map((item) => ({ ...item, selectors: selectorsOf(item.selectors) })),
      );
      return { results: outcomes.map(svidResult) };
    }),
    SignJwtSvid: unary(guard, async (context, request) => {
      const jwt = await services.svids.signJwt(agentOf(context), {
        ...request,
        selectors: selectorsOf(request.selectors),
      });
      return {
        token: jwt.token,
        spiffeId: jwt.spiffeId,
        issuedAt: jwt.issuedAt,
        expiresAt: jwt.expiresAt,
        serverTime: jwt.serverTime,
      };
    }),
    Sync: (call) => syncStream(guard, services.sync, call),
  };
}
