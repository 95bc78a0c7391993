import { PkiError } from '../../../src/common/errors/index.ts';
import { sdsContract } from '../../../src/common/wire/index.ts';
import type { SocketApi, StreamMethod } from '../../local-server/index.ts';
import type { SdsDependencies } from './options.ts';
import { Proxies } from './proxies.ts';
import { ProxyCrls } from './proxy-crls.ts';
import { SecretSource } from './secret-source.ts';
import { createVariants, type Variant } from './variants.ts';

/**
 * Envoy's secret discovery service (SDS v3): certificates and bundles for proxies, by stream, in
 * full or as differences.
 */
export function sdsApi(dependencies: SdsDependencies): SocketApi {
  return {
    name: 'sds',
    metadata: {
      kind: 'none',
      reason: 'proxies set none, and no web page opens a stream of gRPC',
    },
    callers: { kind: 'workloads' },
    services() {
      const proxies = new Proxies(dependencies.consumers, dependencies.clock);
      const variants = createVariants();
      const { crls: policy, metrics } = dependencies;
      const crls = new ProxyCrls({
        ...dependencies,
        policy,
        onWithheld: (withheld) => metrics.crlsWithheld(withheld),
      });
      const stream = (variant: Variant): StreamMethod => ({
        kind: 'stream',
        proof: 'ack',
        readers: 'by source',
        withoutIdentity: 'left to the source',
        open: (handle) =>
          new SecretSource({ ...dependencies, proxies, proxyCrls: crls, variant }, handle),
      });
      return [
        {
          definition: sdsContract().packages.envoy.service.secret.v3.SecretDiscoveryService.service,
          methods: {
            StreamSecrets: stream(variants.full),
            DeltaSecrets: stream(variants.delta),
            FetchSecrets: {
              kind: 'unary',
              run: async () => {
                throw new PkiError('NOT_IMPLEMENTED', 'FetchSecrets, for REST, is not offered', {
                  next: 'Use api_type GRPC or DELTA_GRPC.',
                });
              },
            },
          },
        },
      ];
    },
  };
}
