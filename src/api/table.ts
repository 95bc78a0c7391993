import type { ServiceName } from '../common/wire/index.ts';
import { acmeOperations } from './admin/acme.ts';
import { agentOperations } from './admin/agents.ts';
import { approvalOperations } from './admin/approvals.ts';
import { auditOperations } from './admin/audit.ts';
import { authorityOperations } from './admin/authorities.ts';
import { authoritySourceOperations } from './admin/authority-sources.ts';
import { certificateOperations } from './admin/certificates.ts';
import { delegationOperations } from './admin/delegations.ts';
import { entryOperations } from './admin/entries.ts';
import { federationOperations } from './admin/federation.ts';
import { keyOperations } from './admin/keys.ts';
import { policyOperations } from './admin/policies.ts';
import { roleOperations } from './admin/roles.ts';
import { serverOperations } from './admin/server.ts';
import { targetOperations } from './admin/targets.ts';
import { tenantOperations } from './admin/tenants.ts';
import { tokenOperations } from './admin/tokens.ts';
import {
  agentIssuerOperations,
  nodeAttestationOperations,
  pipelineOperations,
  tokenCertificateOperations,
} from './issuer.ts';
import type { OperationsOf } from './operation.ts';
import { signingOperations } from './signing.ts';

type OperationTable = { readonly [S in ServiceName]: OperationsOf<S> };

/**
 * The one table of operations. Its types derive from the contracts in proto/: a method without a
 * row, or a row without a method, does not compile. gRPC, dual control and the reference in docs/
 * derive from the rows.
 */
export const operationTable: OperationTable = {
  'meshca.issuer.v1.NodeAttestation': nodeAttestationOperations,
  'meshca.issuer.v1.AgentIssuer': agentIssuerOperations,
  'meshca.issuer.v1.Pipelines': pipelineOperations,
  'meshca.issuer.v1.TokenCertificates': tokenCertificateOperations,
  'meshca.signing.v1.Signing': signingOperations,
  'meshca.admin.v1.Entries': entryOperations,
  'meshca.admin.v1.Agents': agentOperations,
  'meshca.admin.v1.Targets': targetOperations,
  'meshca.admin.v1.Tokens': tokenOperations,
  'meshca.admin.v1.Delegations': delegationOperations,
  'meshca.admin.v1.Federation': federationOperations,
  'meshca.admin.v1.Roles': roleOperations,
  'meshca.admin.v1.Tenants': tenantOperations,
  'meshca.admin.v1.Acme': acmeOperations,
  'meshca.admin.v1.Policies': policyOperations,
  'meshca.admin.v1.Authorities': authorityOperations,
  'meshca.admin.v1.AuthoritySources': authoritySourceOperations,
  'meshca.admin.v1.Certificates': certificateOperations,
  'meshca.admin.v1.Keys': keyOperations,
  'meshca.admin.v1.Audit': auditOperations,
  'meshca.admin.v1.Server': serverOperations,
  'meshca.admin.v1.Approvals': approvalOperations,
};

export const serviceNames = Object.keys(operationTable) as readonly ServiceName[];
