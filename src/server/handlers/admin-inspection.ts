import type { AgentsHandlers } from '../../common/wire/generated/meshca/admin/v1/Agents.ts';
import type { AuthoritiesHandlers } from '../../common/wire/generated/meshca/admin/v1/Authorities.ts';
import type { CertificateFilter__Output } from '../../common/wire/generated/meshca/admin/v1/CertificateFilter.ts';
import type { CertificatesHandlers } from '../../common/wire/generated/meshca/admin/v1/Certificates.ts';
import type { ServerHandlers } from '../../common/wire/generated/meshca/admin/v1/Server.ts';
import type { TokensHandlers } from '../../common/wire/generated/meshca/admin/v1/Tokens.ts';
import {
  authorityStates,
  certificateKinds,
  certificateStates,
  type AgentState,
  type AuthorityKind,
} from '../../domain/index.ts';
import type { Services } from '../../services/contract.ts';
import type { CertificateFilter } from '../../store/ports/index.ts';
import { given, oneOf, pageOf, serialOf } from '../convert/common.ts';
import { entryMessage } from '../convert/entries.ts';
import {
  agentMessage,
  authorityMessage,
  bundleMessage,
  certificateMessage,
  tokenMessage,
} from '../convert/views.ts';
import type { Guard } from '../guard.ts';
import { rotationHandlers } from './rotation.ts';
import { operatorOf, unary } from './unary.ts';

const agentStates: readonly AgentState[] = ['active', 'banned', 'evicted'];
const authorityKinds: readonly AuthorityKind[] = ['root', 'issuing', 'jwt', 'log'];

export function agentsHandlers(guard: Guard, { agents }: Pick<Services, 'agents'>): AgentsHandlers {
  return {
    ListAgents: unary(guard, async (context, { page, state }) => {
      const found = await agents.list(
        operatorOf(context),
        state === '' ? {} : { state: oneOf('state', state, agentStates, 'active') },
        pageOf(page),
      );
      return { agents: found.items.map(agentMessage), nextPageToken: found.next ?? '' };
    }),
    GetAgent: unary(guard, async (context, { spiffeId }) => {
      const detail = await agents.get(operatorOf(context), spiffeId);
      return {
        agent: agentMessage(detail.agent),
        parentIds: [...detail.parentIds],
        obtainableEntries: detail.obtainable.map(entryMessage),
        obtainableTotal: detail.obtainableTotal,
        liveCertificates: detail.liveCertificates,
        lastNotAfter: detail.lastNotAfter,
        consumers: [...detail.consumers],
      };
    }),
    BanAgent: unary(guard, async (context, { spiffeId, reason }) =>
      agentMessage(await agents.ban(operatorOf(context), spiffeId, reason)),
    ),
    EvictAgent: unary(guard, async (context, { spiffeId, reason }) =>
      agentMessage(await agents.evict(operatorOf(context), spiffeId, reason)),
    ),
  };
}

export function tokensHandlers(guard: Guard, { tokens }: Pick<Services, 'tokens'>): TokensHandlers {
  return {
    CreateJoinToken: unary(guard, async (context, request) => {
      const { token, record, bundleFingerprint } = await tokens.create(
        operatorOf(context),
        request,
      );
      return tokenMessage(record, { token, bundleFingerprint });
    }),
    ListJoinTokens: unary(guard, async (context, { page }) => {
      const found = await tokens.list(operatorOf(context), pageOf(page));
      return {
        tokens: found.items.map((record) => tokenMessage(record)),
        nextPageToken: found.next ?? '',
      };
    }),
    RevokeJoinToken: unary(guard, async (context, { id, reason }) =>
      tokenMessage(await tokens.revoke(operatorOf(context), id, reason)),
    ),
  };
}

export function authoritiesHandlers(
  guard: Guard,
  { authorities, rotation, crls }: Pick<Services, 'authorities' | 'rotation' | 'crls'>,
): AuthoritiesHandlers {
  return {
    ...rotationHandlers(guard, { rotation, crls }),
    ListAuthorities: unary(guard, async (context, { kind, state }) => {
      const found = await authorities.list(operatorOf(context), {
        ...(kind === '' ? {} : { kind: oneOf('kind', kind, authorityKinds, 'root') }),
        ...(state === '' ? {} : { state: oneOf('state', state, authorityStates, 'active') }),
      });
      return { authorities: found.map(authorityMessage), nextPageToken: '' };
    }),
    GetAuthority: unary(guard, async (context, { id }) =>
      authorityMessage(await authorities.get(operatorOf(context), id)),
    ),
    GetBundle: unary(guard, async (context) =>
      bundleMessage(await authorities.bundle(operatorOf(context))),
    ),
  };
}

export function certificatesHandlers(
  guard: Guard,
  { certificates, revocations, mint }: Pick<Services, 'certificates' | 'revocations' | 'mint'>,
): CertificatesHandlers {
  return {
    ListCertificates: unary(guard, async (context, { page, filter, order }) => {
      const found = await certificates.list(
        operatorOf(context),
        filterOf(filter),
        oneOf('order', order, ['created', 'expiry'], 'created'),
        pageOf(page),
      );
      return {
        certificates: found.items.map((each) => certificateMessage(each)),
        nextPageToken: found.next ?? '',
      };
    }),
    GetCertificate: unary(guard, async (context, { serial }) => {
      const found = await certificates.get(operatorOf(context), serialOf(serial));
      return certificateMessage(found, await revocations.of(found.serial));
    }),
    RevokeCertificate: unary(guard, async (context, { serial, reason }) => {
      const { certificate, revocation } = await revocations.revoke(
        operatorOf(context),
        serialOf(serial),
        reason,
      );
      return certificateMessage(certificate, revocation);
    }),
    MintX509Svid: unary(guard, async (context, request) => {
      const { leaf, rootsDer } = await mint.mint(operatorOf(context), request);
      return {
        serial: leaf.serial,
        chainDer: [...leaf.chainDer],
        rootsDer: [...rootsDer],
        notAfter: leaf.notAfter,
        spiffeId: leaf.spiffeId,
      };
    }),
  };
}

function filterOf(filter: CertificateFilter__Output | null): CertificateFilter {
  if (filter === null) return {};
  return {
    ...given('spiffeId', filter.spiffeId),
    ...given('spiffeIdPrefix', filter.spiffeIdPrefix),
    ...given('holder', filter.holder),
    ...given('authorityId', filter.authorityId),
    ...given('entryId', filter.entryId),
    ...(filter.kind === ''
      ? {}
      : { kind: oneOf('kind', filter.kind, certificateKinds, 'workload') }),
    ...(filter.state === ''
      ? {}
      : { state: oneOf('state', filter.state, certificateStates, 'issued') }),
    ...(filter.expiresBefore === 0 ? {} : { expiresBefore: filter.expiresBefore }),
    ...(filter.expiresAfter === 0 ? {} : { expiresAfter: filter.expiresAfter }),
  };
}

export function statusHandlers(
  guard: Guard,
  { status }: Pick<Services, 'status'>,
): Pick<ServerHandlers, 'GetStatus'> {
  return {
    GetStatus: unary(guard, async (context) => {
      const view = await status.get(operatorOf(context));
      return {
        version: view.version,
        trustDomain: view.trustDomainName,
        startedAt: view.startedAt,
        ready: view.ready,
        reasons: [...view.reasons],
        hsmStatus: view.hsmStatus,
        agentsConnected: view.agentsConnected,
        epoch: view.position.epoch,
        revision: view.position.revision,
        unfinishedIntents: view.unfinishedIntents,
        serverCertificateNotAfter: view.serverCertificateNotAfter,
      };
    }),
  };
}
