import type { CallerClass } from '../services/caller.ts';

/** Where a method may be called: on the TLS port, on the local admin socket, or on both. */
export type Listener = 'tls' | 'local';

const agent = ['agent'] as const;
const delegate = ['delegate'] as const;
const operators = ['local', 'admin'] as const;
const everyone = ['anonymous', 'agent', 'workload', 'delegate', 'admin', 'local'] as const;
const known = ['agent', 'delegate', 'admin', 'local'] as const;

const service = (
  name: string,
  methods: readonly string[],
  classes: readonly CallerClass[],
): Record<string, readonly CallerClass[]> =>
  Object.fromEntries(methods.map((method) => [`/${name}/${method}`, classes]));

/**
 * Which classes of caller each RPC admits: the one table. A method that is not in it is not served
 * at all (the guard refuses to register it). The class comes from the inventory record of the
 * caller's certificate, or from SO_PEERCRED.
 */
export const admission: Readonly<Record<string, readonly CallerClass[]>> = {
  ...service('meshca.issuer.v1.NodeAttestation', ['Attest', 'FetchBundleSteps'], ['anonymous']),
  ...service(
    'meshca.issuer.v1.AgentIssuer',
    ['RenewAgent', 'SignX509Svids', 'SignJwtSvid', 'Sync'],
    agent,
  ),
  ...service('meshca.signing.v1.Signing', ['Sign', 'SignBatch', 'GetDelegation'], delegate),
  // whether the entry behind the SVID allows it is not a matter of class: the service looks at the
  // entry as it is now
  ...service('meshca.signing.v1.Signing', ['SignDownstreamAuthority'], ['workload', 'delegate']),
  ...service(
    'meshca.admin.v1.Entries',
    ['CreateEntries', 'GetEntry', 'ListEntries', 'UpdateEntry', 'DeleteEntries', 'ApplyEntries'],
    operators,
  ),
  ...service(
    'meshca.admin.v1.Agents',
    ['ListAgents', 'GetAgent', 'BanAgent', 'EvictAgent'],
    operators,
  ),
  ...service(
    'meshca.admin.v1.Tokens',
    ['CreateJoinToken', 'ListJoinTokens', 'RevokeJoinToken'],
    operators,
  ),
  ...service(
    'meshca.admin.v1.Delegations',
    ['CreateDelegation', 'ListDelegations', 'RevokeDelegation'],
    operators,
  ),
  ...service('meshca.admin.v1.Roles', ['PutRole', 'ListRoles', 'DeleteRole'], operators),
  ...service(
    'meshca.admin.v1.Authorities',
    [
      'ListAuthorities',
      'GetAuthority',
      'GetBundle',
      'RotateAuthorities',
      'ContinueRotation',
      'WithdrawAuthority',
      'TaintAuthority',
      'RevokeAuthority',
      'PlanCompromise',
      'CompromiseAuthority',
      'AcceptClock',
      'GetRotationStatus',
      'WatchRotation',
      'GetActivationEvidence',
    ],
    operators,
  ),
  ...service(
    'meshca.admin.v1.AuthoritySources',
    [
      'CreateAuthorityCsr',
      'ImportAuthority',
      'RequestAuthority',
      'SignDownstream',
      'CrossSign',
      'ImportCrl',
    ],
    operators,
  ),
  ...service(
    'meshca.admin.v1.Certificates',
    ['ListCertificates', 'GetCertificate', 'RevokeCertificate', 'MintX509Svid'],
    operators,
  ),
  ...service('meshca.admin.v1.Audit', ['ListAuditRecords', 'ExportAudit', 'WatchAudit'], operators),
  ...service(
    'meshca.admin.v1.Server',
    ['GetStatus', 'Backup', 'ShowRestore', 'AcceptRestore'],
    operators,
  ),
  ...service(
    'meshca.admin.v1.Approvals',
    [
      'ListOperations',
      'GetOperation',
      'SubmitApproval',
      'WithdrawOperation',
      'TakeResult',
      'GetApprovalPolicy',
      'PutApprovalPolicy',
    ],
    operators,
  ),
  ...service('grpc.health.v1.Health', ['Check', 'List', 'Watch'], everyone),
  ...service('grpc.reflection.v1.ServerReflection', ['ServerReflectionInfo'], known),
  ...service('grpc.reflection.v1alpha.ServerReflection', ['ServerReflectionInfo'], known),
};
