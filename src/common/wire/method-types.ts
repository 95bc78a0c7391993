import type { MethodDefinition } from '@grpc/proto-loader';
import type { ProtoGrpcType as AdminProto } from './generated/admin.ts';
import type { ProtoGrpcType as AgentProto } from './generated/agent.ts';
import type { ProtoGrpcType as IssuerProto } from './generated/issuer.ts';
import type { ProtoGrpcType as SigningProto } from './generated/signing.ts';

/**
 * The services that our server offers, derived from the generated types: the name of a service, the
 * names of its methods, their messages, and whether a side streams. Types only.
 */

/** The server's contracts, by package. */
interface Packages {
  readonly 'meshca.admin.v1': AdminProto['meshca']['admin']['v1'];
  readonly 'meshca.issuer.v1': IssuerProto['meshca']['issuer']['v1'];
  readonly 'meshca.signing.v1': SigningProto['meshca']['signing']['v1'];
}

/** The explicit keys of a type, without the index signatures of generated types. */
type Stated<T> = {
  [K in keyof T as string extends K ? never : number extends K ? never : K]: T[K];
};

/** `unary`: one message each way. `stream`: the server sends many. `exchange`: both sides do. */
export type MethodKind = 'unary' | 'stream' | 'exchange';

/** One method. A message has a lenient form for its sender and a complete one for its reader. */
export interface MethodType {
  readonly kind: MethodKind;
  readonly requestSent: object;
  readonly requestRead: object;
  readonly responseSent: object;
  readonly responseRead: object;
}

/** Which sides stream, derived from the return type of a generated client's method. */
type KindOf<Call> = Call extends { read: unknown; write: unknown }
  ? 'exchange'
  : Call extends { read: unknown }
    ? 'stream'
    : Call extends { write: unknown }
      ? never
      : 'unary';

type MethodTypeOf<Definition, Call> =
  Definition extends MethodDefinition<
    infer RequestSent,
    infer ResponseSent,
    infer RequestRead,
    infer ResponseRead
  >
    ? {
        readonly kind: KindOf<Call>;
        readonly requestSent: RequestSent;
        readonly requestRead: RequestRead;
        readonly responseSent: ResponseSent;
        readonly responseRead: ResponseRead;
      }
    : never;

type ResultOf<Method> = Method extends (...parameters: never) => infer Result ? Result : never;

type MethodsOf<Constructor> = Constructor extends {
  new (...parameters: never): infer Client;
  readonly service: infer Definition;
}
  ? {
      [M in keyof Stated<Definition>]: M extends keyof Client
        ? MethodTypeOf<Definition[M & keyof Definition], ResultOf<Client[M]>>
        : never;
    }
  : never;

type ServicesOf<P extends keyof Packages> = {
  [S in keyof Packages[P] as Packages[P][S] extends { readonly service: unknown }
    ? `${P}.${S & string}`
    : never]: MethodsOf<Packages[P][S]>;
};

/** Every service of the server by its full name, with its methods. */
export type ServiceTypes = ServicesOf<'meshca.admin.v1'> &
  ServicesOf<'meshca.issuer.v1'> &
  ServicesOf<'meshca.signing.v1'>;

export type ServiceName = keyof ServiceTypes & string;

export type MethodName<S extends ServiceName> = keyof ServiceTypes[S] & string;

/** `/meshca.admin.v1.Entries/CreateEntries` */
export type MethodPath<S extends ServiceName = ServiceName> = {
  [N in S]: `/${N}/${MethodName<N>}`;
}[S];

/** The methods of one kind, by path. */
export type MethodPathOf<Kind extends MethodKind, S extends ServiceName = ServiceName> = {
  [N in S]: {
    [M in MethodName<N>]: ServiceTypes[N][M] extends { readonly kind: Kind } ? `/${N}/${M}` : never;
  }[MethodName<N>];
}[S];

/** The messages of the method with this path. */
export type MethodAt<Path extends MethodPath> = Path extends `/${infer S}/${infer M}`
  ? S extends ServiceName
    ? M extends MethodName<S>
      ? ServiceTypes[S][M] & MethodType
      : never
    : never
  : never;

/** The names of all methods, without their services. */
export type OperationName = { [S in ServiceName]: MethodName<S> }[ServiceName];

export type AdminServiceName = Extract<ServiceName, `meshca.admin.v1.${string}`>;

/** The agent's local API, which is not a service of the server. */
export type AgentLocalMethods = MethodsOf<AgentProto['meshca']['agent']['v1']['AgentLocal']>;
