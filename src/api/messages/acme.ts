import type { AcmeAccount as AccountMessage } from '../../common/wire/generated/meshca/admin/v1/AcmeAccount.ts';
import type { AcmeOrder as OrderMessage } from '../../common/wire/generated/meshca/admin/v1/AcmeOrder.ts';
import type { CreateEabKeyRequest__Output } from '../../common/wire/generated/meshca/admin/v1/CreateEabKeyRequest.ts';
import type { EabKey as EabKeyMessage } from '../../common/wire/generated/meshca/admin/v1/EabKey.ts';
import type { EabKeySecret as EabKeySecretMessage } from '../../common/wire/generated/meshca/admin/v1/EabKeySecret.ts';
import {
  authorizationAt,
  orderStatusAt,
  type AcmeAccount,
  type AcmeOrder,
  type Authorization,
  type Challenge,
  type EabKey,
  type EabKeyInput,
} from '../../domain/index.ts';
import type { EabKeySecret } from '../../services/services.ts';

export const eabKeyInput = (request: CreateEabKeyRequest__Output): EabKeyInput => ({ ...request });

/** `ended`: why nothing more is issued by it; empty: it stands. */
export const eabKeyMessage = (key: EabKey, ended: string): EabKeyMessage => ({
  ...key,
  dnsPatterns: [...key.dnsPatterns],
  ipRanges: [...key.ipRanges],
  profiles: [...key.profiles],
  keyTypes: [...key.keyTypes],
  challengeTypes: [...key.challengeTypes],
  accountId: key.accountId ?? '',
  revokedAt: key.revokedAt ?? 0,
  ended,
  source: key.source?.by === 'svid' ? { ...key.source, agent: key.source.agent ?? '' } : key.source,
});

export const eabKeySecretMessage = ({
  key,
  macKey,
  directoryUrl,
}: EabKeySecret): EabKeySecretMessage => ({ key: eabKeyMessage(key, ''), macKey, directoryUrl });

/** The answer to whoever exchanged something for it. */
export const exchangedKeyMessage = ({ key, macKey, directoryUrl }: EabKeySecret) => ({
  ...{ keyId: key.id, macKey, directoryUrl },
  ...{ expiresAt: key.expiresAt, tenant: key.tenant },
});

export const accountMessage = (account: AcmeAccount): AccountMessage => ({
  id: account.id,
  status: account.status,
  algorithm: account.algorithm,
  thumbprint: account.thumbprint,
  contacts: [...account.contacts],
  eabKeyId: account.eabKeyId,
  tenant: account.tenant,
  createdAt: account.createdAt,
  updatedAt: account.updatedAt,
});

/** An order with what time has made of it. */
export const orderMessage = (order: AcmeOrder, now: number): OrderMessage => ({
  id: order.id,
  status: orderStatusAt(order, now),
  stage: order.stage,
  accountId: order.accountId,
  eabKeyId: order.eabKeyId,
  tenant: order.tenant,
  profile: order.profile,
  replaces: order.replaces ?? '',
  serial: order.serial ?? '',
  problem: order.problem,
  expiresAt: order.expiresAt,
  createdAt: order.createdAt,
  authorizations: order.authorizations.map((authorization) => ({
    type: authorization.identifier.type,
    value: authorization.identifier.value,
    wildcard: authorization.wildcard,
    status: statusOf(authorization, order, now),
    shownBy: authorization.shownBy,
    expiresAt: authorization.expiresAt,
    caaAt: authorization.caaAt ?? 0,
    challenges: authorization.challenges.map(challengeMessage),
  })),
});

/** Once an order is finalizing, the end of an authorization by time changes nothing. */
const statusOf = (authorization: Authorization, { stage }: AcmeOrder, now: number): string =>
  stage === 'open' ? authorizationAt(authorization, now) : authorization.status;

const challengeMessage = ({
  type,
  status,
  validatedAt,
  problem,
  perspectives = [],
}: Challenge) => ({
  type,
  status,
  validatedAt: validatedAt ?? 0,
  problem,
  perspectives: perspectives.map((each) => ({ ...each, seenAt: [...each.seenAt] })),
});
