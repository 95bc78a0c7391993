import { createHash } from 'node:crypto';
import { selectorText, type Selector } from '../common/spiffe/index.ts';
import type { AcmeAccount, EabKey } from './acme/account.ts';
import { acmeForms } from './acme/logged-forms.ts';
import type { AcmeOrder } from './acme/order.ts';
import { revokedTokenExpiry, type Agent, type JoinToken } from './agent.ts';
import type { AgentLine } from './agent-line.ts';
import type { PendingOperation, StoredPolicy } from './approval.ts';
import type { Authority } from './authority.ts';
import type { BlockedKey } from './blocked-key.ts';
import type { BundleRevision } from './bundle.ts';
import type { Delegation, Role } from './delegation.ts';
import type { RegistrationEntry } from './entry.ts';
import type { FederationRelationship, ForeignBundle } from './federation/relationship.ts';
import { form, type LoggedForm } from './logged-form.ts';
import { logObjectDigest, type LogObject, type LogObjectKind } from './log-object.ts';
import type { IssuancePolicyVersion } from './issuance-policy.ts';
import { crlId, type Revocation, type StoredCrl } from './revocation.ts';
import type { ClockState } from './rotation/clock.ts';
import type { RotationOperation } from './rotation/types.ts';
import type { Tenant } from './tenant.ts';
import type { TokenUse } from './token-use.ts';

/** The types of the values that the log commits to, by kind. */
export interface LoggedValues {
  readonly entry: RegistrationEntry;
  readonly delegation: Delegation;
  readonly role: Role;
  readonly authority: Authority;
  readonly agent: Agent;
  readonly 'join-token': JoinToken;
  readonly bundle: BundleRevision;
  readonly rotation: RotationOperation;
  readonly 'approval-policy': StoredPolicy;
  readonly 'issuance-policy': IssuancePolicyVersion;
  readonly operation: PendingOperation;
  readonly revocation: Revocation;
  readonly crl: StoredCrl;
  readonly 'agent-line': AgentLine;
  readonly clock: ClockState;
  readonly 'token-use': TokenUse;
  readonly federation: FederationRelationship;
  readonly 'foreign-bundle': ForeignBundle;
  readonly 'blocked-key': BlockedKey;
  readonly tenant: Tenant;
  readonly 'eab-key': EabKey;
  readonly 'acme-account': AcmeAccount;
  readonly 'acme-order': AcmeOrder;
}

/** A database has one approval policy. */
export const approvalPolicyId = 'policy';

/**
 * `type:value`, sorted and unique. Two entries have the same set of selectors exactly if these
 * lists are equal.
 */
export const selectorList = (selectors: readonly Selector[]): readonly string[] =>
  [...new Set(selectors.map(selectorText))].sort();

/** The fields of an entry before `createdOrder` was added. */
const firstEntryFields = [
  'id',
  'spiffeId',
  'isTemplate',
  'placeholders',
  'parentId',
  'selectors',
  'x509TtlSeconds',
  'jwtTtlSeconds',
  'profile',
  'dnsNames',
  'hint',
  'expiresAt',
  'admin',
  'downstream',
  'allowWeakSelectors',
  'revision',
  'createdAt',
  'updatedAt',
  'createdBy',
] as const;

/** The fields of an entry before `federatesWith` was added. */
const orderedEntryFields = [...firstEntryFields, 'createdOrder'] as const;

/**
 * The records of existing logs contain these texts: an order or encoding never changes. A new field
 * is added at the end of `digested`, and the previous list is added to `earlier`.
 */
const federatingEntryFields = [...orderedEntryFields, 'federatesWith'] as const;

/** The fields of a delegation before `ipRanges` and `wildcards` were added. */
const firstDelegationFields = [
  'id',
  'clientId',
  'patterns',
  'maxTtlSeconds',
  'keyTypes',
  'dnsPatterns',
  'profile',
  'expiresAt',
  'revokedAt',
  'createdAt',
  'createdBy',
] as const;

const forms: { readonly [Kind in LogObjectKind]: LoggedForm<LoggedValues[Kind]> } = {
  entry: form<RegistrationEntry>()({
    id: ({ id }) => id,
    digested: [...federatingEntryFields, 'ips'],
    undigested: {},
    earlier: [
      { digested: federatingEntryFields, vouched: (entry) => ({ ...entry, ips: [] }) },
      {
        digested: orderedEntryFields,
        vouched: (entry) => ({ ...entry, federatesWith: [], ips: [] }),
      },
      {
        digested: firstEntryFields,
        vouched: (entry) => ({ ...entry, createdOrder: 0, federatesWith: [], ips: [] }),
      },
    ],
    encode: { selectors: (selectors) => JSON.stringify(selectorList(selectors)) },
  }),
  delegation: form<Delegation>()({
    id: ({ id }) => id,
    digested: [...firstDelegationFields, 'ipRanges', 'wildcards'],
    undigested: {},
    earlier: [
      {
        digested: firstDelegationFields,
        vouched: (delegation) => ({ ...delegation, ipRanges: [], wildcards: false }),
      },
    ],
  }),
  role: form<Role>()({
    id: ({ name }) => name,
    digested: ['name', 'verbs', 'prefixes', 'members', 'createdAt', 'updatedAt'],
    undigested: {},
  }),
  authority: form<Authority>()({
    id: ({ id }) => id,
    digested: [
      'id',
      'kind',
      'state',
      'version',
      'keyType',
      'token',
      'ckaId',
      'parentId',
      'scope',
      'spkiDer',
      'certificateDer',
      'subjectKeyId',
      'notBefore',
      'notAfter',
      'createdAt',
      'activatedAt',
      'taintedAt',
      'publishedAt',
      'taintWindowSeconds',
    ],
    undigested: {},
  }),
  agent: form<Agent>()({
    id: ({ spiffeId }) => spiffeId,
    digested: [
      'spiffeId',
      'attestationType',
      'selectors',
      'state',
      'generation',
      'serial',
      'spkiDer',
      'attestedAt',
      'renewedAt',
      'svidNotAfter',
    ],
    undigested: {
      stateReason: 'display: the state itself is digested',
      lastSeenAt: 'display: changes with every sign of life',
      version: 'display: what the agent says of itself',
      survivedOutageSeconds: 'display: what the agent says of itself',
    },
  }),
  'join-token': form<JoinToken>()({
    id: ({ id }) => id,
    digested: [
      'id',
      'tokenSha256',
      'agentId',
      'nodeSelectors',
      'expiresAt',
      'createdBy',
      'createdAt',
      'boundPublicKeySha256',
      'usedAt',
      'resultSerial',
    ],
    earlier: [
      {
        digested: [
          'id',
          'tokenSha256',
          'agentId',
          'nodeSelectors',
          'expiresAt',
          'createdBy',
          'createdAt',
        ],
        // no record says whether it was used
        vouched: (token) => ({ ...token, expiresAt: revokedTokenExpiry }),
      },
    ],
    undigested: {},
  }),
  bundle: form<BundleRevision>()({
    id: ({ sequence }) => String(sequence),
    digested: ['sequence', 'document', 'jws', 'createdAt'],
    undigested: {},
  }),
  rotation: form<RotationOperation>()({
    id: ({ id }) => id,
    digested: ['id', 'kind', 'state', 'version', 'spec', 'createdBy', 'createdAt'],
    undigested: { updatedAt: 'display' },
  }),
  'approval-policy': form<StoredPolicy>()({
    id: () => approvalPolicyId,
    digested: ['version', 'policy', 'updatedAt', 'updatedBy'],
    undigested: {},
  }),
  'issuance-policy': form<IssuancePolicyVersion>()({
    id: ({ version }) => String(version),
    digested: ['version', 'sha256', 'reason', 'activatedAt', 'activatedBy'],
    undigested: {},
  }),
  operation: form<PendingOperation>()({
    id: ({ id }) => id,
    digested: [
      'id',
      'version',
      'bytes',
      'method',
      'proposer',
      'createdAt',
      'expiresAt',
      'state',
      'approvals',
      'outcome',
      'evidence',
      'decidedAt',
      'updatedAt',
    ],
    undigested: {},
  }),
  revocation: form<Revocation>()({
    id: ({ serial }) => serial,
    digested: ['serial', 'authorityId', 'reason', 'revokedAt', 'revokedBy', 'notAfter', 'shard'],
    undigested: {},
    earlier: [
      {
        digested: ['serial', 'authorityId', 'reason', 'revokedAt', 'revokedBy', 'notAfter'],
        vouched: (revocation) => ({ ...revocation, shard: 0 }),
      },
    ],
  }),
  crl: form<StoredCrl>()({
    id: ({ authorityId, shard }) => crlId(authorityId, shard),
    digested: ['authorityId', 'number', 'thisUpdate', 'nextUpdate', 'der', 'shard'],
    undigested: {},
    earlier: [
      {
        digested: ['authorityId', 'number', 'thisUpdate', 'nextUpdate', 'der'],
        vouched: (crl) => ({ ...crl, shard: 0 }),
      },
    ],
    encode: { der: (der) => createHash('sha256').update(der).digest('hex') },
  }),
  // has no row: its records state it
  clock: form<ClockState>()({
    id: () => 'clock',
    digested: ['bootId', 'uptimeMs', 'wallMs', 'standing', 'seconds'],
    undigested: {},
  }),
  'token-use': form<TokenUse>()({
    id: ({ id }) => id,
    digested: [
      'id',
      'issuer',
      'subject',
      'grantee',
      'publicKeySha256',
      'usedAt',
      'expiresAt',
      'serial',
      'endedAt',
    ],
    undigested: {},
  }),
  federation: form<FederationRelationship>()({
    id: ({ trustDomain }) => trustDomain,
    digested: [
      'trustDomain',
      'id',
      'endpointUrl',
      'endpointProfile',
      'endpointSpiffeId',
      'webRoots',
      'createdAt',
      'createdBy',
    ],
    undigested: {},
  }),
  'foreign-bundle': form<ForeignBundle>()({
    id: ({ trustDomain }) => trustDomain,
    digested: [
      'trustDomain',
      'relationshipId',
      'sequence',
      'refreshHintSeconds',
      'roots',
      'jwtKeys',
      'documentSha256',
      'receivedAt',
    ],
    undigested: {},
    encode: {
      jwtKeys: (keys) => JSON.stringify(keys.map(({ keyId, spki }) => [keyId, spki])),
    },
  }),
  'blocked-key': form<BlockedKey>()({
    id: ({ publicKeySha256 }) => publicKeySha256,
    digested: ['publicKeySha256', 'reason', 'blockedAt', 'blockedBy'],
    undigested: {},
  }),
  ...acmeForms,
  'agent-line': form<AgentLine>()({
    id: ({ spiffeId }) => spiffeId,
    digested: ['spiffeId', 'svids', 'inUse', 'kept'],
    undigested: {},
    encode: {
      svids: (svids) => JSON.stringify(svids.map(({ serial, renewed }) => [serial, renewed])),
    },
  }),
};

const formOf = <Kind extends LogObjectKind>(kind: Kind): LoggedForm<LoggedValues[Kind]> =>
  forms[kind];

export const loggedId = <Kind extends LogObjectKind>(
  kind: Kind,
  value: LoggedValues[Kind],
): string => formOf(kind).id(value);

/** The text that a new record of this value commits to, with every digested field. */
export const loggedText = <Kind extends LogObjectKind>(
  kind: Kind,
  value: LoggedValues[Kind],
): string => loggedVersions(kind)[0].text(value);

/** The texts that a record of such a value may commit to, newest first. */
export const loggedVersions = <Kind extends LogObjectKind>(
  kind: Kind,
): readonly [LoggedText<Kind>, ...LoggedText<Kind>[]] =>
  formOf(kind).versions.map(({ parts, vouched }) => ({
    text: (value: LoggedValues[Kind]) => JSON.stringify(parts(value)),
    vouched,
  })) as unknown as readonly [LoggedText<Kind>, ...LoggedText<Kind>[]];

export interface LoggedText<Kind extends LogObjectKind> {
  text(value: LoggedValues[Kind]): string;
  /** The value as a record of this text vouches for it. */
  vouched(value: LoggedValues[Kind]): LoggedValues[Kind];
}

/** The object that a record of this value commits to. */
export const loggedObject = <Kind extends LogObjectKind>(
  kind: Kind,
  value: LoggedValues[Kind],
): LogObject => ({
  kind,
  id: loggedId(kind, value),
  sha256: logObjectDigest(loggedText(kind, value)),
});

/** The object that the record of a deletion commits to. */
export const deletedObject = (kind: LogObjectKind, id: string): LogObject => ({
  kind,
  id,
  sha256: '',
});
