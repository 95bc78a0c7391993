import { PkiError } from '../common/errors/index.ts';
import type { ApplyEntriesRequest__Output } from '../common/wire/generated/meshca/admin/v1/ApplyEntriesRequest.ts';
import type { CreateEntriesRequest__Output } from '../common/wire/generated/meshca/admin/v1/CreateEntriesRequest.ts';
import type { CreateJoinTokenRequest__Output } from '../common/wire/generated/meshca/admin/v1/CreateJoinTokenRequest.ts';
import type { DeleteEntriesRequest__Output } from '../common/wire/generated/meshca/admin/v1/DeleteEntriesRequest.ts';
import type { ImportAuthorityRequest__Output } from '../common/wire/generated/meshca/admin/v1/ImportAuthorityRequest.ts';
import type { ImportCrlRequest__Output } from '../common/wire/generated/meshca/admin/v1/ImportCrlRequest.ts';
import type { MintX509SvidRequest__Output } from '../common/wire/generated/meshca/admin/v1/MintX509SvidRequest.ts';
import type { UpdateEntryRequest__Output } from '../common/wire/generated/meshca/admin/v1/UpdateEntryRequest.ts';
import type { ApprovalSights } from '../services/approvals/index.ts';

/**
 * Whether a call waits for approval while dual control is on: in any case, in none, or by what it
 * asks for.
 */
export type Guarding =
  | 'always'
  | 'never'
  | ((request: never, sights: ApprovalSights) => Promise<boolean>);

const rows = (
  service: string,
  methods: Readonly<Record<string, Guarding>>,
): Readonly<Record<string, Guarding>> =>
  Object.fromEntries(
    Object.entries(methods).map(([method, guarding]) => [
      `/meshca.admin.v1.${service}/${method}`,
      guarding,
    ]),
  );

/**
 * The one table of what dual control guards: each RPC of meshca.admin.v1 has its row, and one
 * without is guarded. `never` is for what only reads, only takes away (an emergency must not wait:
 * ban, evict, revoking a delegation), or is itself part of approving.
 */
export const guarding: Readonly<Record<string, Guarding>> = {
  ...rows('Entries', {
    CreateEntries: ({ entries }: CreateEntriesRequest__Output, sights) =>
      sights.entriesMatter(entries),
    GetEntry: 'never',
    ListEntries: 'never',
    UpdateEntry: async ({ entry }: UpdateEntryRequest__Output, sights) =>
      entry !== null &&
      ((await sights.entriesMatter([entry])) || (await sights.storedMatter([entry.id]))),
    DeleteEntries: ({ ids }: DeleteEntriesRequest__Output, sights) =>
      sights.storedMatter(bounded(ids)),
    ApplyEntries: async ({ entries, prune, dryRun }: ApplyEntriesRequest__Output, sights) => {
      if (dryRun) return false;
      const ids = entries.map(({ id }) => id).filter((id) => id !== '');
      return (
        (await sights.entriesMatter(entries)) ||
        (await sights.storedMatter(ids)) ||
        (prune && (await sights.othersMatter(new Set(ids))))
      );
    },
  }),
  ...rows('Agents', {
    ListAgents: 'never',
    GetAgent: 'never',
    BanAgent: 'never',
    EvictAgent: 'never',
  }),
  ...rows('Tokens', {
    CreateJoinToken: ({ agentName, nodeSelectors }: CreateJoinTokenRequest__Output, sights) =>
      sights.tokenMatters(agentName, nodeSelectors),
    ListJoinTokens: 'never',
    RevokeJoinToken: 'never',
  }),
  ...rows('Delegations', {
    CreateDelegation: 'always',
    ListDelegations: 'never',
    RevokeDelegation: 'never',
  }),
  ...rows('Roles', { PutRole: 'always', ListRoles: 'never', DeleteRole: 'always' }),
  ...rows('Authorities', {
    ListAuthorities: 'never',
    GetAuthority: 'never',
    GetBundle: 'never',
    GetRotationStatus: 'never',
    WatchRotation: 'never',
    GetActivationEvidence: 'never',
    PlanCompromise: 'never',
    RotateAuthorities: 'always',
    ContinueRotation: 'always',
    WithdrawAuthority: 'always',
    TaintAuthority: 'always',
    RevokeAuthority: 'always',
    CompromiseAuthority: 'always',
    AcceptClock: 'always',
  }),
  ...rows('AuthoritySources', {
    CreateAuthorityCsr: 'always',
    ImportAuthority: ({ dryRun }: ImportAuthorityRequest__Output) => Promise.resolve(!dryRun),
    ImportCrl: ({ dryRun }: ImportCrlRequest__Output) => Promise.resolve(!dryRun),
    RequestAuthority: 'always',
    SignDownstream: 'always',
    CrossSign: 'always',
  }),
  ...rows('Certificates', {
    ListCertificates: 'never',
    GetCertificate: 'never',
    RevokeCertificate: 'always',
    MintX509Svid: async ({ admin, spiffeId }: MintX509SvidRequest__Output, sights) =>
      admin || sights.idMatters(spiffeId),
  }),
  ...rows('Audit', { ListAuditRecords: 'never', ExportAudit: 'never', WatchAudit: 'never' }),
  ...rows('Server', {
    GetStatus: 'never',
    Backup: 'never',
    ShowRestore: 'never',
    AcceptRestore: 'always',
  }),
  ...rows('Approvals', {
    ListOperations: 'never',
    GetOperation: 'never',
    SubmitApproval: 'never',
    WithdrawOperation: 'never',
    TakeResult: 'never',
    GetApprovalPolicy: 'never',
    PutApprovalPolicy: 'always',
  }),
};

export const guardingOf = (path: string): Guarding =>
  path.startsWith('/meshca.admin.v1.')
    ? Object.hasOwn(guarding, path)
      ? (guarding[path] as Guarding)
      : 'always'
    : 'never';

/** As the service limits them, before they are looked up one by one. */
function bounded(ids: readonly string[]): readonly string[] {
  if (ids.length > 500)
    throw new PkiError('REQUEST_TOO_LARGE', `${ids.length} entries in one call; the limit is 500`);
  return ids;
}
