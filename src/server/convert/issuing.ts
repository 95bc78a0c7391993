import type { AgentSvid as AgentSvidMessage } from '../../common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import type { SyncDown } from '../../common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncEntry } from '../../common/wire/generated/meshca/issuer/v1/SyncEntry.ts';
import type { X509SvidResult } from '../../common/wire/generated/meshca/issuer/v1/X509SvidResult.ts';
import type { SignResult } from '../../common/wire/generated/meshca/signing/v1/SignResult.ts';
import type { RegistrationEntry } from '../../domain/index.ts';
import type { AgentSvid, SvidOutcome, SyncMessage } from '../../services/contract.ts';
import { problemOf } from './common.ts';
import { placeholderMessages } from './entries.ts';

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
      spiffeId: leaf.spiffeId,
      serial: leaf.serial,
      chainDer: [...leaf.chainDer],
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      lifetimeSeconds: leaf.lifetimeSeconds,
      serverTime: leaf.serverTime,
      authorityId: leaf.authorityId,
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
      spiffeId: leaf.spiffeId,
      serial: leaf.serial,
      chainDer: [...leaf.chainDer],
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      authorityId: leaf.authorityId,
    },
  };
}

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
      return {
        authorities: {
          tainted: message.tainted.map((each) => ({
            authorityId: each.authorityId,
            subjectKeyId: Buffer.from(each.subjectKeyId, 'hex'),
            windowSeconds: each.windowSeconds,
            taintedAt: each.taintedAt,
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
        },
      };
    case 'checkpoint':
      return { checkpoint: { note: message.note } };
  }
}

const syncEntry = (entry: RegistrationEntry): SyncEntry => ({
  id: entry.id,
  revision: entry.revision,
  spiffeId: entry.spiffeId,
  selectors: entry.selectors.map(({ type, value }) => ({ type, value })),
  x509TtlSeconds: entry.x509TtlSeconds,
  jwtTtlSeconds: entry.jwtTtlSeconds,
  hint: entry.hint,
  dnsNames: [...entry.dnsNames],
  expiresAt: entry.expiresAt,
  isTemplate: entry.isTemplate,
  placeholders: placeholderMessages(entry),
  createdAt: entry.createdAt,
});
