import { z } from 'zod';
import { parseDnsName } from '../../../common/spiffe/index.ts';
import { linkerdContract } from '../../../common/wire/index.ts';
import type { CertifyResponse } from '../../../common/wire/generated/io/linkerd/proxy/identity/CertifyResponse.ts';
import {
  linkerdServingName,
  linkerdSuffix,
  shortLivedMaximumSeconds,
} from '../../../domain/index.ts';
import type { IssuedLeaf } from '../../../issuance/issuer.ts';
import { controlPlaneType } from '../control-plane.ts';
import { LinkerdCertify, type CertifyRequest } from './certify.ts';

const configuration = z.strictObject({
  namespace: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
    .default('linkerd')
    .describe("Namespace of Linkerd's control plane"),
  trustDomain: z
    .string()
    .superRefine((text, context) => {
      const parsed = parseDnsName(text);
      if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
    })
    .default('cluster.local')
    .describe("Linkerd's identityTrustDomain; it need not be the trust domain of this CA"),
  audiences: z
    .array(z.string().min(1).max(512))
    .min(1)
    .max(16)
    .default(['identity.l5d.io'])
    .describe('The token of a proxy must be for one of these'),
  ttlSeconds: z
    .number()
    .int()
    // it renews after 70 %, and must then no longer get the recorded certificate
    .min(300)
    .max(shortLivedMaximumSeconds)
    .default(shortLivedMaximumSeconds)
    .describe('Life of the certificate of a proxy (seconds)'),
});
type Configuration = z.output<typeof configuration>;

const certifyPath = '/io.linkerd.proxy.identity.Identity/Certify';

/**
 * Linkerd: proxies get their certificates from this server in place of Linkerd's identity service.
 * They prove themselves by the token of their service account. A proxy presents its certificate when
 * it renews, but that is no credential.
 */
export const linkerd = controlPlaneType<Configuration>({
  type: 'linkerd',
  configuration,
  contract: () => linkerdContract().packages.io.linkerd.proxy.identity.Identity.service,
  admits: ['anonymous'],
  dnsNames: (plane) => [linkerdServingName(plane)],
  reserved: (plane) => [`*.${linkerdSuffix(plane)}`],
  create: (plane, { verifier, ...dependencies }) => {
    const service = new LinkerdCertify(plane, { ...dependencies, tokens: verifier });
    return {
      methods: {
        [certifyPath]: async ({ peer, signal }, request) =>
          answerOf(await service.certify(request as CertifyRequest, peer, signal)),
      },
    };
  },
});

function answerOf({ chainDer, notAfter }: IssuedLeaf): CertifyResponse {
  const [leafCertificate, ...intermediateCertificates] = chainDer;
  return {
    leafCertificate: leafCertificate as Buffer,
    intermediateCertificates,
    validUntil: { seconds: notAfter, nanos: 0 },
  };
}
