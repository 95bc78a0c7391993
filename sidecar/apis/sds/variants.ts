import type { Result } from '../../../src/common/errors/index.ts';
import { sdsContract } from '../../../src/common/wire/index.ts';
import type { DeltaDiscoveryRequest__Output } from '../../../src/common/wire/generated/envoy/service/discovery/v3/DeltaDiscoveryRequest.ts';
import type { DiscoveryRequest__Output } from '../../../src/common/wire/generated/envoy/service/discovery/v3/DiscoveryRequest.ts';
import type { SecretsRequest } from './protocol.ts';
import { deltaRequest, fullRequest, nodeOf, secretType, spiffeValidatorOf } from './requests.ts';
import type { SecretContent } from './secrets.ts';

/** What a request says, whichever of the two methods it is of. */
export interface ReadRequest {
  /** The node of the proxy, as it names itself. Empty: the request does not say. */
  readonly node: string;
  /** Whether it wants the SPIFFE validator. Undefined: the request does not say. */
  readonly spiffeValidator: boolean | undefined;
  /** Whether it says that it has secrets of an earlier stream. Counts in the first request alone. */
  readonly resumes: boolean;
  readonly request: Result<SecretsRequest>;
}

/** The two forms of one stream of secrets. */
export interface Variant {
  read(wire: unknown): ReadRequest;
  /** One secret in one response. `mark` as in `SecretContent`. */
  encode(
    name: string,
    content: SecretContent,
    response: { readonly nonce: string; readonly mark: string },
  ): Buffer;
}

const proxyOf = (wire: Pick<DiscoveryRequest__Output, 'node'>) => ({
  node: nodeOf(wire),
  spiffeValidator: spiffeValidatorOf(wire),
});

const controlPlane = { identifier: 'meshca agent' };

export function createVariants(): { readonly full: Variant; readonly delta: Variant } {
  const { service } = sdsContract().packages.envoy.service.secret.v3.SecretDiscoveryService;
  const resourceOf = (name: string, content: SecretContent, mark: string) => ({
    typeUrl: secretType,
    value: content.encode(name, mark),
  });
  return {
    full: {
      read(wire) {
        const request = wire as DiscoveryRequest__Output;
        const resumes = request.versionInfo !== '';
        return { ...proxyOf(request), resumes, request: fullRequest(request) };
      },
      encode: (name, content, { nonce, mark }) =>
        service.StreamSecrets.responseSerialize({
          versionInfo: content.version,
          resources: [resourceOf(name, content, mark)],
          typeUrl: secretType,
          nonce,
          controlPlane,
        }),
    },
    delta: {
      read(wire) {
        const request = wire as DeltaDiscoveryRequest__Output;
        const resumes = Object.keys(request.initialResourceVersions).length > 0;
        return { ...proxyOf(request), resumes, request: deltaRequest(request) };
      },
      encode: (name, content, { nonce, mark }) =>
        service.DeltaSecrets.responseSerialize({
          systemVersionInfo: content.version,
          resources: [
            { name, version: content.version, resource: resourceOf(name, content, mark) },
          ],
          typeUrl: secretType,
          nonce,
          controlPlane,
        }),
    },
  };
}
