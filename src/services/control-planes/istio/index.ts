import { istioContract } from '../../../common/wire/index.ts';
import type { IstioCertificateRequest__Output } from '../../../common/wire/generated/istio/v1/auth/IstioCertificateRequest.ts';
import { controlPlaneType } from '../control-plane.ts';
import { istioConfiguration, type IstioConfiguration } from './configuration.ts';
import { CreateCertificate } from './create-certificate.ts';

const createCertificatePath = '/istio.v1.auth.IstioCertificateService/CreateCertificate';

/**
 * Istio: sidecars, gateways and ztunnels get their certificates from this server in place of istiod.
 * They prove themselves by the token of their service account, and a virtual machine by the
 * certificate that an entry gave to it.
 */
export const istio = controlPlaneType<IstioConfiguration>({
  type: 'istio',
  configuration: istioConfiguration,
  contract: () => istioContract().packages.istio.v1.auth.IstioCertificateService.service,
  admits: ['anonymous', 'workload'],
  dnsNames: ({ dnsNames }) => dnsNames,
  delegatedIssuers: ({ issuers }) => issuers,
  create: (settings, dependencies) => {
    const service = new CreateCertificate(settings, dependencies);
    return {
      methods: {
        [createCertificatePath]: (call, request) =>
          service.create(call, request as IstioCertificateRequest__Output),
      },
    };
  },
});
