import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { canonicalJson, type Json } from '../approval/index.ts';
import { PkiError } from '../errors/index.ts';
import type { MethodAt, MethodPath, ServiceName } from './method-types.ts';
import { adminContract, issuerContract, signingContract } from './load.ts';

/** The definition of a service of ours, as the gRPC library takes it. */
export function serviceDefinition(name: ServiceName): ServiceDefinition {
  const contract = name.startsWith('meshca.admin.')
    ? adminContract()
    : name.startsWith('meshca.issuer.')
      ? issuerContract()
      : signingContract();
  return contract.services[name] as ServiceDefinition;
}

/** The definition of one method: its path, and how its messages become bytes. */
export function methodDefinition(path: MethodPath): MethodDefinition<object, object> {
  const [, service = '', name = ''] = path.split('/');
  const method = serviceDefinition(service as ServiceName)[name];
  if (method === undefined) throw new PkiError('NOT_IMPLEMENTED', `there is no method ${path}`);
  return method as MethodDefinition<object, object>;
}

/**
 * Reads a request from its JSON: bytes come from base64, and absent fields get their defaults, as
 * they do in a request off the wire.
 */
export function requestFromJson<Path extends MethodPath>(
  path: Path,
  json: Json,
): MethodAt<Path>['requestRead'] {
  const method = methodDefinition(path);
  return method.requestDeserialize(method.requestSerialize(json as object));
}

/**
 * Reads a request from its JSON. Undefined if the JSON states more than this release reads from it,
 * or something else.
 */
export function exactRequestFromJson<Path extends MethodPath>(
  path: Path,
  json: Json,
): MethodAt<Path>['requestRead'] | undefined {
  const request = requestFromJson(path, json);
  return canonicalJson(request) === canonicalJson(json) ? request : undefined;
}

/** The request as JSON. Throws INVALID_REQUEST if this JSON would be read differently. */
export function requestToJson<Path extends MethodPath>(
  path: Path,
  request: MethodAt<Path>['requestRead'],
): Json {
  const json = JSON.parse(canonicalJson(request)) as Json;
  if (exactRequestFromJson(path, json) === undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      'the request can not be stated exactly, so it can not be approved',
    );
  return json;
}

/** An answer as JSON, with every field that a reader would see. */
export function responseToJson<Path extends MethodPath>(
  path: Path,
  response: MethodAt<Path>['responseSent'],
): Json {
  const method = methodDefinition(path);
  return JSON.parse(
    canonicalJson(method.responseDeserialize(method.responseSerialize(response))),
  ) as Json;
}
