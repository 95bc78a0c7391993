import {
  loadPackageDefinition,
  type GrpcObject,
  type MethodDefinition,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import type { Options, PackageDefinition } from '@grpc/proto-loader';
import protobuf, { type IConversionOptions, type INamespace } from 'protobufjs/light.js';

/** The generated types hold for exactly these options. */
const conversion: IConversionOptions = {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
};

/** The services of one or more .proto files, `Packages` as in the generated types. */
export interface Contract<Packages> {
  /** By their full names. */
  readonly services: Readonly<Record<string, ServiceDefinition>>;
  readonly packages: Packages;
  /** The contract with a description of each message, which only reflection needs. */
  describe(): Promise<PackageDefinition>;
}

/**
 * The services are made here as proto-loader makes them, without the descriptions of all messages of
 * all methods: these take most of its time, and of the memory afterwards.
 */
export function contractFrom<Packages>(json: () => INamespace): Contract<Packages> {
  const root = protobuf.Root.fromJSON(json()).resolveAll().root;
  const services = Object.fromEntries(
    servicesBelow(root).map((service) => [fullName(service), serviceDefinition(service)]),
  );
  return {
    services,
    packages: loadPackageDefinition(services) as GrpcObject as unknown as Packages,
    describe: async () => {
      const { fromJSON } = await import('@grpc/proto-loader');
      return fromJSON(json(), conversion as Options);
    },
  };
}

const servicesBelow = (namespace: protobuf.NamespaceBase): readonly protobuf.Service[] =>
  namespace.nestedArray.flatMap((object) => {
    if (object instanceof protobuf.Service) return [object];
    return object instanceof protobuf.Namespace ? servicesBelow(object) : [];
  });

/** protobufjs begins full names with a dot. */
const fullName = ({ fullName: name }: protobuf.ReflectionObject): string => name.slice(1);

const serviceDefinition = (service: protobuf.Service): ServiceDefinition =>
  Object.fromEntries(
    service.methodsArray.map((method) => [
      method.name,
      methodDefinition(method, `/${fullName(service)}/${method.name}`),
    ]),
  );

function methodDefinition(
  method: protobuf.Method,
  path: string,
): MethodDefinition<object, object> & { readonly originalName: string } {
  const { resolvedRequestType: request, resolvedResponseType: response } = method;
  if (request === null || response === null) throw new Error(`${path} has no message types`);
  return {
    path,
    requestStream: method.requestStream === true,
    responseStream: method.responseStream === true,
    requestSerialize: serializer(request),
    requestDeserialize: deserializer(request),
    responseSerialize: serializer(response),
    responseDeserialize: deserializer(response),
    originalName: camelCase(method.name),
  };
}

const serializer =
  (type: protobuf.Type) =>
  (value: object): Buffer =>
    type.encode(type.fromObject(value)).finish() as Buffer;

const deserializer =
  (type: protobuf.Type) =>
  (bytes: Buffer): object =>
    type.toObject(type.decode(bytes), conversion);

/** The name of a method in clients, as proto-loader writes it: fetchX509Svid for FetchX509SVID. */
const camelCase = (name: string): string =>
  (name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+/g) ?? [])
    .map((word, at) =>
      at === 0 ? word.toLowerCase() : word.charAt(0).toUpperCase() + word.slice(1).toLowerCase(),
    )
    .join('');
