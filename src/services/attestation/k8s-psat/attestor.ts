import { z } from 'zod';
import { PkiError, unwrap } from '../../../common/errors/index.ts';
import { nodeAttestorType } from '../node-attestor.ts';
import { once, tokenSelectors } from '../token-evidence.ts';

const maximumEvidenceBytes = 20 * 1024;
const evidenceSchema = z.strictObject({
  cluster: z.string().min(1).max(63),
  token: z.string().min(1),
});

/**
 * Attests an agent that runs as a pod, by its projected service account token. Evidence: JSON with
 * `cluster` and `token`. The issuers are those of `tokens.issuers` with the purpose node.
 */
export const kubernetesToken = nodeAttestorType({
  type: 'k8s_psat',
  namespace: 'own',
  // a cluster vouches for its own nodes alone, so that its name comes first; then the UID of the
  // node, or of the pod where the cluster does not tell the node
  isAgentName: (name) => /^[A-Za-z0-9._-]{1,63}\.[A-Za-z0-9-]{1,64}$/.test(name),
  configuration: z
    .strictObject({
      serviceAccounts: z
        .array(z.string().regex(/^[a-z0-9-]+:[a-z0-9.-]+$/))
        .min(1)
        .optional()
        .describe('Service accounts (namespace:name) whose pods may become agents (k8s_psat)'),
    })
    .prefault({}),
  create({ serviceAccounts }, { verifier }) {
    if (serviceAccounts === undefined) return undefined;
    return {
      async start(evidence, peer) {
        const { cluster, token } = parsed(evidence);
        const verified = unwrap(await verifier.verify(token, { purpose: 'node', cluster, peer }));
        const { kubernetes } = verified;
        if (kubernetes?.pod === undefined)
          throw new PkiError('TOKEN_NOT_BOUND', 'the token of the agent is bound to no pod');
        const account = `${kubernetes.namespace}:${kubernetes.serviceAccount}`;
        if (!serviceAccounts.includes(account))
          throw new PkiError(
            'ATTESTATION_FAILED',
            `pods of the service account ${account} may not become agents`,
            { next: 'Add it to attestation.k8sPsat.serviceAccounts of the server.' },
          );
        return {
          kind: 'proven',
          agentName: `${kubernetes.cluster}.${kubernetes.node?.uid ?? kubernetes.pod.uid}`,
          selectors: tokenSelectors('k8s_psat', [
            `cluster:${cluster}`,
            `agent_ns:${kubernetes.namespace}`,
            `agent_sa:${kubernetes.serviceAccount}`,
            `agent_pod_name:${kubernetes.pod.name}`,
            `agent_pod_uid:${kubernetes.pod.uid}`,
            ...(kubernetes.node === undefined ? [] : [`agent_node_name:${kubernetes.node.name}`]),
            ...(kubernetes.node?.uid === undefined
              ? []
              : [`agent_node_uid:${kubernetes.node.uid}`]),
          ]),
          ...once(verified),
        };
      },
    };
  },
});

function parsed(evidence: Buffer): z.output<typeof evidenceSchema> {
  try {
    if (evidence.length <= maximumEvidenceBytes)
      return evidenceSchema.parse(JSON.parse(evidence.toString('utf8')));
  } catch {
    // refused below
  }
  throw new PkiError('ATTESTATION_FAILED', 'the evidence is no JSON with cluster and token');
}
