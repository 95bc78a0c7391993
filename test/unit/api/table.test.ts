import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { libraryMethods, operationTable, rows } from '../../../src/api/index.ts';
import { admittedClasses } from '../../../src/api/row.ts';
import { silentTurnSeconds } from '../../../src/domain/index.ts';
import { methodDefinition } from '../../../src/common/wire/index.ts';

/**
 * Who is admitted to each operation, and whether it waits for approval under dual control. Stated
 * here once more by hand: a change of the table that opens an operation or takes it from dual
 * control must show in this list.
 */
const expected: Readonly<Record<string, Readonly<Record<string, readonly [string, string]>>>> = {
  'meshca.issuer.v1.NodeAttestation': {
    Attest: ['anonymous', 'never'],
    FetchBundleSteps: ['anonymous', 'never'],
  },
  'meshca.issuer.v1.AgentIssuer': {
    RenewAgent: ['agent', 'never'],
    SignX509Svids: ['agent', 'never'],
    SignJwtSvid: ['agent', 'never'],
    Sync: ['agent', 'never'],
  },
  'meshca.issuer.v1.Pipelines': {
    IssueWithToken: ['anonymous', 'never'],
    ExplainToken: ['anonymous', 'never'],
    ExchangeToken: ['anonymous', 'never'],
  },
  'meshca.issuer.v1.TokenCertificates': {
    EndTokenCertificate: ['workload delegate', 'never'],
  },
  'meshca.signing.v1.Signing': {
    Sign: ['delegate', 'never'],
    SignBatch: ['delegate', 'never'],
    SignStream: ['delegate', 'never'],
    WatchBundle: ['delegate', 'never'],
    GetDelegation: ['delegate', 'never'],
    ExchangeEabKey: ['delegate', 'never'],
    SignDownstreamAuthority: ['workload delegate', 'never'],
  },
  'meshca.admin.v1.Entries': {
    CreateEntries: ['local admin', 'by content'],
    GetEntry: ['local admin', 'never'],
    ListEntries: ['local admin', 'never'],
    UpdateEntry: ['local admin', 'by content'],
    DeleteEntries: ['local admin', 'by content'],
    ApplyEntries: ['local admin', 'by content'],
  },
  'meshca.admin.v1.Agents': {
    ListAgents: ['local admin', 'never'],
    GetAgent: ['local admin', 'never'],
    BanAgent: ['local admin', 'never'],
    EvictAgent: ['local admin', 'never'],
    KeepAgent: ['local admin', 'never'],
  },
  'meshca.admin.v1.Targets': {
    ListTargets: ['local admin', 'never'],
    StageTargets: ['local admin', 'never'],
    PromoteTargets: ['local admin', 'always'],
    RollBackTargets: ['local admin', 'never'],
  },
  'meshca.admin.v1.Tokens': {
    CreateJoinToken: ['local admin', 'by content'],
    ListJoinTokens: ['local admin', 'never'],
    RevokeJoinToken: ['local admin', 'never'],
    ListTokenIssuers: ['local admin', 'never'],
    ExplainIdentityToken: ['local admin', 'never'],
  },
  'meshca.admin.v1.Delegations': {
    CreateDelegation: ['local admin', 'always'],
    ListDelegations: ['local admin', 'never'],
    RevokeDelegation: ['local admin', 'never'],
  },
  'meshca.admin.v1.Federation': {
    CreateRelationship: ['local admin', 'always'],
    ListRelationships: ['local admin', 'never'],
    GetRelationship: ['local admin', 'never'],
    RefreshRelationship: ['local admin', 'never'],
    DeleteRelationship: ['local admin', 'never'],
  },
  'meshca.admin.v1.Roles': {
    PutRole: ['local admin', 'always'],
    ListRoles: ['local admin', 'never'],
    DeleteRole: ['local admin', 'always'],
  },
  'meshca.admin.v1.Tenants': {
    CreateTenant: ['local admin', 'by content'],
    ListTenants: ['local admin', 'never'],
    GetTenant: ['local admin', 'never'],
    UpdateTenant: ['local admin', 'by content'],
    PreviewTenantEnd: ['local admin', 'never'],
    EndTenant: ['local admin', 'always'],
    DeleteTenant: ['local admin', 'always'],
  },
  'meshca.admin.v1.Acme': {
    CreateEabKey: ['local admin', 'always'],
    ListEabKeys: ['local admin', 'never'],
    GetEabKey: ['local admin', 'never'],
    GetEabKeySecret: ['local admin', 'never'],
    RevokeEabKey: ['local admin', 'never'],
    ListAccounts: ['local admin', 'never'],
    GetAccount: ['local admin', 'never'],
    EndAccount: ['local admin', 'never'],
    ListOrders: ['local admin', 'never'],
    GetOrder: ['local admin', 'never'],
  },
  'meshca.admin.v1.Policies': {
    GetPolicy: ['local admin', 'never'],
    ListPolicies: ['local admin', 'never'],
    ListRenewalLosses: ['local admin', 'never'],
    ReplayPolicy: ['local admin', 'never'],
    GetPolicyDecision: ['local admin', 'never'],
    ActivatePolicy: ['local admin', 'always'],
  },
  'meshca.admin.v1.Authorities': {
    ListAuthorities: ['local admin', 'never'],
    GetAuthority: ['local admin', 'never'],
    GetBundle: ['local admin', 'never'],
    RotateAuthorities: ['local admin', 'always'],
    ContinueRotation: ['local admin', 'always'],
    WithdrawAuthority: ['local admin', 'always'],
    TaintAuthority: ['local admin', 'always'],
    RevokeAuthority: ['local admin', 'always'],
    ListUnreplaced: ['local admin', 'never'],
    PlanCompromise: ['local admin', 'never'],
    CompromiseAuthority: ['local admin', 'always'],
    AcceptClock: ['local admin', 'always'],
    GetRotationStatus: ['local admin', 'never'],
    WatchRotation: ['local admin', 'never'],
    GetActivationEvidence: ['local admin', 'never'],
  },
  'meshca.admin.v1.AuthoritySources': {
    CreateAuthorityCsr: ['local admin', 'always'],
    ImportAuthority: ['local admin', 'by content'],
    RequestAuthority: ['local admin', 'always'],
    SignDownstream: ['local admin', 'always'],
    CrossSign: ['local admin', 'always'],
    ImportCrl: ['local admin', 'by content'],
  },
  'meshca.admin.v1.Certificates': {
    ListCertificates: ['local admin', 'never'],
    GetCertificate: ['local admin', 'never'],
    RevokeCertificate: ['local admin', 'always'],
    RevokeCertificates: ['local admin', 'by content'],
    GetRevocationProgress: ['local admin', 'never'],
    MintX509Svid: ['local admin', 'by content'],
    IssueCertificate: ['local admin', 'never'],
  },
  'meshca.admin.v1.Keys': {
    BlockKey: ['local admin', 'never'],
    GetKey: ['local admin', 'never'],
    ListBlockedKeys: ['local admin', 'never'],
  },
  'meshca.admin.v1.Audit': {
    ListAuditRecords: ['local admin', 'never'],
    ExportAudit: ['local admin', 'never'],
    WatchAudit: ['local admin', 'never'],
  },
  'meshca.admin.v1.Server': {
    GetStatus: ['local admin', 'never'],
    Backup: ['local admin', 'never'],
    ShowRestore: ['local admin', 'never'],
    AcceptRestore: ['local admin', 'always'],
  },
  'meshca.admin.v1.Approvals': {
    ListOperations: ['local admin', 'never'],
    GetOperation: ['local admin', 'never'],
    SubmitApproval: ['local admin', 'never'],
    WithdrawOperation: ['local admin', 'never'],
    TakeResult: ['local admin', 'never'],
    GetApprovalPolicy: ['local admin', 'never'],
    PutApprovalPolicy: ['local admin', 'always'],
  },
};

test('each operation admits the expected callers and waits for approval as expected', () => {
  const stated = Object.entries(expected).flatMap(([service, methods]) =>
    Object.entries(methods).map(([method, facts]) => [`/${service}/${method}`, ...facts] as const),
  );
  const present = [...rows.values()].map(
    (row) =>
      [
        row.path,
        admittedClasses(row).join(' '),
        typeof row.dualControl === 'string' ? row.dualControl : 'by content',
      ] as const,
  );
  const sorted = (list: readonly (readonly string[])[]): readonly string[] =>
    list.map((fields) => fields.join(': ')).sort();
  assert.deepEqual(sorted(present), sorted(stated));
});

test('health is open to everybody, reflection to those with an identity of ours but workloads', () => {
  const all = ['anonymous', 'agent', 'workload', 'delegate', 'admin', 'local'];
  const known = ['agent', 'delegate', 'admin', 'local'];
  assert.deepEqual(libraryMethods, {
    '/grpc.health.v1.Health/Check': all,
    '/grpc.health.v1.Health/List': all,
    '/grpc.health.v1.Health/Watch': all,
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': known,
    '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': known,
  });
});

describe('each row fits its contract', () => {
  test('a method with one answer has run, a stream of answers has open, a dialogue has neither', () => {
    for (const row of rows.values()) {
      const { requestStream, responseStream } = methodDefinition(row.path);
      const wanted = requestStream ? 'exchange' : responseStream ? 'open' : 'run';
      const found = row.run ? 'run' : row.open ? 'open' : 'exchange';
      assert.equal(found, wanted, row.path);
    }
  });

  test('only calls of operators wait for approval, and no stream does', () => {
    for (const row of rows.values())
      if (row.dualControl !== 'never')
        assert.ok(row.run !== undefined && row.admits === 'operators', row.path);
  });
});

test('a call that waits for an agent may take longer than the server waits for the agent', () => {
  const patient = [...rows.values()].filter(({ patienceSeconds }) => patienceSeconds !== undefined);
  assert.deepEqual(
    patient.map(({ path }) => path.split('/').at(-1)),
    ['StageTargets', 'PromoteTargets', 'RollBackTargets', 'RevokeCertificates'],
  );
  for (const { path, patienceSeconds = 0 } of patient)
    assert.ok(patienceSeconds > silentTurnSeconds, path);
});

test('the compiler refuses a method without a row, and a row without a method', () => {
  const tokens = operationTable['meshca.admin.v1.Tokens'];
  const { RevokeJoinToken: _left, ...withoutOne } = tokens;
  // @ts-expect-error RevokeJoinToken has no row
  const incomplete: typeof tokens = withoutOne;
  const { 'meshca.admin.v1.Tokens': _service, ...withoutService } = operationTable;
  // @ts-expect-error the service Tokens has no rows
  const smaller: typeof operationTable = withoutService;
  const wider: typeof tokens = {
    ...tokens,
    // @ts-expect-error there is no method of this name
    StealJoinToken: { admits: 'operators', dualControl: 'never', run: async () => ({}) },
  };
  const streamed: (typeof operationTable)['meshca.admin.v1.Audit'] = {
    ...operationTable['meshca.admin.v1.Audit'],
    ExportAudit: {
      admits: 'operators',
      // @ts-expect-error a stream can not wait for approval
      dualControl: 'always',
      open: () => Promise.reject(new Error('unused')),
    },
  };
  assert.ok(incomplete && smaller && wider && streamed);
});
