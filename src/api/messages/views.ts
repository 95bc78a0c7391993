import { certificatesToPem, parseCertificate } from '../../common/x509/index.ts';
import type { Agent as AgentMessage } from '../../common/wire/generated/meshca/admin/v1/Agent.ts';
import type { AuditRecord as AuditMessage } from '../../common/wire/generated/meshca/admin/v1/AuditRecord.ts';
import type { Authority as AuthorityMessage } from '../../common/wire/generated/meshca/admin/v1/Authority.ts';
import type { Bundle as BundleMessage } from '../../common/wire/generated/meshca/admin/v1/Bundle.ts';
import type { Certificate as CertificateMessage } from '../../common/wire/generated/meshca/admin/v1/Certificate.ts';
import type { Delegation as DelegationMessage } from '../../common/wire/generated/meshca/admin/v1/Delegation.ts';
import type { JoinToken as JoinTokenMessage } from '../../common/wire/generated/meshca/admin/v1/JoinToken.ts';
import type { Role as RoleMessage } from '../../common/wire/generated/meshca/admin/v1/Role.ts';
import type {
  AuditRecord,
  CertificateRecord,
  Delegation,
  JoinToken,
  Role,
  Revocation,
} from '../../domain/index.ts';
import type { AgentView, AuthorityView, BundleView } from '../../services/services.ts';
import { selectorTexts } from './common.ts';

export const agentMessage = (agent: AgentView): AgentMessage => ({
  spiffeId: agent.spiffeId,
  attestationType: agent.attestationType,
  selectors: selectorTexts(agent.selectors),
  state: agent.state,
  stateReason: agent.stateReason,
  serial: agent.serial,
  attestedAt: agent.attestedAt,
  renewedAt: agent.renewedAt,
  svidNotAfter: agent.svidNotAfter,
  lastSeenAt: agent.lastSeenAt,
  connected: agent.connected,
  version: agent.version,
  survivedOutageSeconds: agent.survivedOutageSeconds,
  evidenceRevoked: agent.evidenceRevoked,
  bundleRefusal: agent.bundleRefusal ?? null,
  doubled:
    agent.doubled === undefined
      ? null
      : { ...agent.doubled, instances: agent.doubled.instances.map((each) => ({ ...each })) },
});

export const tokenMessage = (
  record: JoinToken,
  secret?: {
    readonly token: string;
    readonly rootFingerprints: readonly string[];
    readonly issuerFingerprints: readonly string[];
  },
): JoinTokenMessage => ({
  id: record.id,
  agentId: record.agentId,
  expiresAt: record.expiresAt,
  usedAt: record.usedAt ?? 0,
  createdBy: record.createdBy,
  createdAt: record.createdAt,
  ...secret,
  rootFingerprints: [...(secret?.rootFingerprints ?? [])],
  issuerFingerprints: [...(secret?.issuerFingerprints ?? [])],
});

export const delegationMessage = (delegation: Delegation): DelegationMessage => ({
  id: delegation.id,
  clientId: delegation.clientId,
  patterns: [...delegation.patterns],
  maxTtlSeconds: delegation.maxTtlSeconds,
  keyTypes: [...delegation.keyTypes],
  dnsPatterns: [...delegation.dnsPatterns],
  ipRanges: [...delegation.ipRanges],
  wildcards: delegation.wildcards,
  profile: delegation.profile,
  expiresAt: delegation.expiresAt,
  revokedAt: delegation.revokedAt ?? 0,
  createdAt: delegation.createdAt,
  createdBy: delegation.createdBy,
});

export const roleMessage = (role: Role): RoleMessage => ({
  name: role.name,
  verbs: [...role.verbs],
  prefixes: [...role.prefixes],
  members: [...role.members],
  createdAt: role.createdAt,
  updatedAt: role.updatedAt,
});

export const authorityMessage = ({
  authority,
  liveCertificates,
}: AuthorityView): AuthorityMessage => ({
  id: authority.id,
  kind: authority.kind,
  state: authority.state,
  version: authority.version,
  keyType: authority.keyType,
  token: authority.token,
  ckaId: authority.ckaId,
  parentId: authority.parentId ?? '',
  subjectKeyId: authority.subjectKeyId ?? '',
  notBefore: authority.notBefore,
  notAfter: authority.notAfter,
  createdAt: authority.createdAt,
  activatedAt: authority.activatedAt ?? 0,
  certificateDer: authority.certificateDer ?? Buffer.alloc(0),
  liveCertificates,
  scopeJson: JSON.stringify(authority.scope),
});

export const bundleMessage = (view: BundleView): BundleMessage => ({
  trustDomain: view.trustDomainName,
  rootsDer: [...view.rootsDer],
  bundleJson: view.bundle.document,
  sequence: view.bundle.sequence,
  rootsPem: certificatesToPem(view.rootsDer),
  fingerprints: [...view.fingerprints],
});

/** What the certificate itself says; of one that is not signed nothing. */
function statedIn(
  certificateDer: Buffer | null,
): Pick<CertificateMessage, 'dnsNames' | 'ips' | 'crlUrl' | 'ocspUrl'> {
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  if (parsed?.ok !== true) return { dnsNames: [], ips: [], crlUrl: '', ocspUrl: '' };
  const { dnsSans, ipSans, crlDistributionPoints, ocspUrls } = parsed.value;
  return {
    dnsNames: [...dnsSans],
    ips: [...ipSans],
    crlUrl: crlDistributionPoints[0] ?? '',
    ocspUrl: ocspUrls[0] ?? '',
  };
}

export const certificateMessage = (
  record: CertificateRecord,
  revocation?: Revocation,
): CertificateMessage => ({
  ...statedIn(record.certificateDer),
  serial: record.serial,
  sha256: record.sha256 ?? '',
  spiffeId: record.spiffeId,
  kind: record.kind,
  state: record.state,
  stateReason: record.stateReason ?? '',
  entryId: record.entryId ?? '',
  delegationId: record.delegationId ?? '',
  shard: record.shard,
  tenant: record.tenant ?? '',
  requester: record.requester,
  holder: record.holder,
  publicKeySha256: record.publicKeySha256,
  requestId: record.requestId,
  authorityId: record.authorityId,
  createdAt: Math.floor(record.createdAtMs / 1000),
  notBefore: record.notBefore,
  notAfter: record.notAfter,
  replacedBy: record.replacedBy ?? '',
  replacementConfirmedAt: record.replacementConfirmedAt ?? 0,
  certificateDer: record.certificateDer ?? Buffer.alloc(0),
  profile: record.profile,
  revokedAt: revocation?.revokedAt ?? 0,
  revocationReason: revocation?.reason ?? '',
});

export const auditMessage = (record: AuditRecord): AuditMessage => ({
  sequence: record.sequence,
  canonical: record.canonical,
  sha256: record.sha256,
  timeMs: record.timeMs,
  actor: record.actor,
  kind: record.kind,
  subject: record.subject,
});
