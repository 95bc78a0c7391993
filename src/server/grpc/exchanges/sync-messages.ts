import { placeholderMessages } from '../../../api/index.ts';
import type { AuthoritiesUpdate } from '../../../common/wire/generated/meshca/issuer/v1/AuthoritiesUpdate.ts';
import type { FederatedBundles } from '../../../common/wire/generated/meshca/issuer/v1/FederatedBundles.ts';
import type { ReplaceSvids } from '../../../common/wire/generated/meshca/issuer/v1/ReplaceSvids.ts';
import type { SyncDown } from '../../../common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncEntry } from '../../../common/wire/generated/meshca/issuer/v1/SyncEntry.ts';
import type { RegistrationEntry } from '../../../domain/index.ts';
import type { SyncMessage } from '../../../services/services.ts';

export function syncDown(message: SyncMessage): SyncDown {
  switch (message.kind) {
    case 'welcome':
      return {
        welcome: {
          protocolVersion: message.protocolVersion,
          serverVersion: message.serverVersion,
          capabilities: [...message.capabilities],
          epoch: message.epoch,
          serverTime: message.serverTime,
        },
      };
    case 'entries':
      return {
        entries: {
          snapshotBegin: message.snapshotBegin,
          snapshotEnd: message.snapshotEnd,
          upserts: message.upserts.map(syncEntry),
          removedIds: [...message.removedIds],
          ...(message.position === undefined
            ? {}
            : { position: { epoch: message.position.epoch, revision: message.position.revision } }),
        },
      };
    case 'bundles':
      return { bundles: { steps: message.steps.map(({ sequence, jws }) => ({ sequence, jws })) } };
    case 'authorities':
      return { authorities: authoritiesUpdate(message) };
    case 'federated':
      return { federated: federatedBundles(message) };
    case 'checkpoint':
      return { checkpoint: { note: message.note } };
    case 'replace':
      return { replace: replacements(message) };
    case 'renew-now':
      return { renewNow: {} };
    case 'target': {
      const { commandId, target, act, turn } = message;
      return { target: { commandId, target, act, ...(turn === undefined ? {} : { turn }) } };
    }
    case 'vantage': {
      const { identifier, caaIdentities, ...task } = message.task;
      const { type: identifierType, value: identifierValue } = identifier;
      return {
        vantageTask: {
          ...task,
          identifierType,
          identifierValue,
          caaIdentities: [...caaIdentities],
        },
      };
    }
  }
}

const authoritiesUpdate = (
  message: Extract<SyncMessage, { kind: 'authorities' }>,
): AuthoritiesUpdate => ({
  tainted: message.tainted.map((authority) => ({
    authorityId: authority.authorityId,
    subjectKeyId: Buffer.from(authority.subjectKeyId, 'hex'),
    windowSeconds: authority.windowSeconds,
    taintedAt: authority.taintedAt,
  })),
  published: message.published.map(({ authorityId, chainDer }) => ({
    authorityId,
    chainDer: [...chainDer],
  })),
  crls: message.crls.map(({ authorityId, der, nextUpdate }) => ({
    authorityId,
    der,
    nextUpdate,
  })),
});

const federatedBundles = ({
  trustDomains,
  bundles,
}: Extract<SyncMessage, { kind: 'federated' }>): FederatedBundles => ({
  trustDomains: [...trustDomains],
  bundles: bundles.map(({ trustDomain, sequence, document }) => ({
    trustDomain,
    sequence,
    bundleJson: document,
  })),
});

const replacements = ({
  serials,
  windowSeconds,
}: Extract<SyncMessage, { kind: 'replace' }>): ReplaceSvids => ({
  serials: [...serials],
  windowSeconds,
});

const syncEntry = (entry: RegistrationEntry): SyncEntry => ({
  id: entry.id,
  revision: entry.revision,
  spiffeId: entry.spiffeId,
  selectors: entry.selectors.map(({ type, value }) => ({ type, value })),
  x509TtlSeconds: entry.x509TtlSeconds,
  jwtTtlSeconds: entry.jwtTtlSeconds,
  hint: entry.hint,
  dnsNames: [...entry.dnsNames],
  profile: entry.profile,
  ips: [...entry.ips],
  expiresAt: entry.expiresAt,
  isTemplate: entry.isTemplate,
  placeholders: placeholderMessages(entry),
  createdAt: entry.createdAt,
  createdOrder: entry.createdOrder,
  federatesWith: [...entry.federatesWith],
});
