import { fail, ok, type Result } from '../../../src/common/errors/index.ts';
import type { DeltaDiscoveryRequest__Output } from '../../../src/common/wire/generated/envoy/service/discovery/v3/DeltaDiscoveryRequest.ts';
import type { DiscoveryRequest__Output } from '../../../src/common/wire/generated/envoy/service/discovery/v3/DiscoveryRequest.ts';
import type { ErrorDetail__Output } from '../../../src/common/wire/generated/envoy/service/discovery/v3/ErrorDetail.ts';
import type { DeltaRequest, FullRequest } from './protocol.ts';

export const secretType = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

const maximumReason = 400;
const maximumNode = 100;

/** A request of StreamSecrets. Fails with SECRET_NAME_INVALID for another type of resource. */
export function fullRequest(wire: DiscoveryRequest__Output): Result<FullRequest> {
  const { resourceNames, responseNonce, errorDetail, typeUrl } = wire;
  if (!isSecretType(typeUrl)) return foreignType(typeUrl);
  const refused = refusalOf(errorDetail);
  return ok({ kind: 'full', names: resourceNames, nonce: responseNonce, refused });
}

/** A request of DeltaSecrets. Fails with SECRET_NAME_INVALID for another type of resource. */
export function deltaRequest(wire: DeltaDiscoveryRequest__Output): Result<DeltaRequest> {
  const { typeUrl, responseNonce, errorDetail } = wire;
  if (!isSecretType(typeUrl)) return foreignType(typeUrl);
  return ok({
    kind: 'delta',
    subscribe: wire.resourceNamesSubscribe,
    unsubscribe: wire.resourceNamesUnsubscribe,
    versions: new Map(Object.entries(wire.initialResourceVersions)),
    nonce: responseNonce,
    refused: refusalOf(errorDetail),
  });
}

/** The start of the name that a proxy gives itself. Empty: the request does not say. */
export const nodeOf = ({ node }: Pick<DiscoveryRequest__Output, 'node'>): string =>
  startOf(node?.id ?? '', maximumNode);

const spellings: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'true', 'True', 'TRUE'].map((text) => [text, true] as const),
  ...['0', 'f', 'F', 'false', 'False', 'FALSE'].map((text) => [text, false] as const),
]);

/**
 * Whether a proxy wants bundles with the SPIFFE validator, by the metadata of its node: a boolean or
 * its text, as SPIRE reads it. Undefined: it does not say.
 */
export function spiffeValidatorOf({
  node,
}: Pick<DiscoveryRequest__Output, 'node'>): boolean | undefined {
  const value = node?.metadata?.fields['disable_spiffe_cert_validation'];
  const disabled = value?.boolValue ?? spellings.get(value?.stringValue ?? '');
  return disabled === undefined ? undefined : !disabled;
}

/** A copy, since a slice would keep the whole text of the request in memory. */
const startOf = (text: string, length: number): string =>
  Buffer.from(text.slice(0, length)).toString();

/** Clients may leave the type out: the method says it. */
const isSecretType = (typeUrl: string): boolean => typeUrl === '' || typeUrl === secretType;

const foreignType = (typeUrl: string): Result<never> =>
  fail(
    'SECRET_NAME_INVALID',
    `resources of type ${JSON.stringify(typeUrl.slice(0, 200))} are not served here`,
    { next: `Ask for resources of type ${secretType}.` },
  );

/** A response is refused if the detail is there, whatever it says. */
const refusalOf = (detail: ErrorDetail__Output | null): string | undefined =>
  detail === null
    ? undefined
    : `${startOf(detail.message, maximumReason) || 'no reason'} (code ${detail.code})`;
