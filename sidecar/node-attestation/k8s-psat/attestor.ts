import { createHash } from 'node:crypto';
import { z } from 'zod';
import { nodeAttestorType } from '../node-attestor.ts';
import { missingCredential, readPublic } from '../secret-file.ts';

/**
 * By the projected service account token of the agent's pod. Payload: JSON with `cluster` and
 * `token`. The kubelet replaces the file before the token ends.
 */
export const kubernetesToken = nodeAttestorType({
  type: 'k8s_psat',
  configuration: z.strictObject({
    cluster: z
      .string()
      .min(1)
      .describe('Name of the cluster in tokens.issuers of the server (k8s_psat)'),
    tokenPath: z
      .string()
      .min(1)
      .default('/var/run/secrets/tokens/meshca')
      .describe('File with the projected service account token of this pod'),
  }),
  async evidence({ cluster, tokenPath }) {
    // the file belongs to the kubelet, which gives it the mode of the volume
    const token = (await readPublic(tokenPath)).trim();
    if (token === '') throw missingCredential(`${tokenPath} is empty`);
    return {
      payload: Buffer.from(JSON.stringify({ cluster, token }), 'utf8'),
      name: createHash('sha256').update(token).digest('hex'),
      once: true,
    };
  },
});
