import { z } from 'zod';
import { parseDnsName } from '../../../common/spiffe/index.ts';

const dnsName = z.string().superRefine((text, context) => {
  const parsed = parseDnsName(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
});

export const istioConfiguration = z.strictObject({
  dnsNames: z
    .array(dnsName)
    .min(1)
    .max(16)
    .default(['istiod.istio-system.svc'])
    .describe(
      'The names that agents and ztunnels dial (CA_ADDR, CA_ADDRESS); reserved, and in the certificate of this front',
    ),
  issuers: z
    .array(z.string().min(1).max(63))
    .min(1)
    .max(64)
    .describe(
      'Names of token issuers (tokens.issuers, with purpose istio) whose pods may get ' +
        'certificates; what each may get stands in delegations of ' +
        '/meshca/control-plane/istio/NAME',
    ),
  audiences: z
    .array(z.string().min(1).max(512))
    .min(1)
    .max(16)
    .default(['istio-ca'])
    .describe('The token of a caller must be for one of these'),
  requireClusterId: z
    .boolean()
    .default(false)
    .describe(
      'Whether the header clusterid must name the cluster of the token; needed where several clusters have one issuer',
    ),
});
export type IstioConfiguration = z.output<typeof istioConfiguration>;
