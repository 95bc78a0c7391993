export { startAdminListener } from './grpc/admin-listener.ts';
export { Connections, type Connection } from './grpc/connections.ts';
export { buildGrpcServer, type GrpcFront } from './grpc/grpc-server.ts';
export type { TlsFront, TlsIdentity } from './grpc/presented-identities.ts';
export { startTlsListener, type Listening } from './grpc/tls-listener.ts';
export { ServerMetrics } from './metrics.ts';
export {
  acmePlugin,
  bundleEndpointPlugin,
  bundlePlugin,
  crlPlugin,
  issuerPlugin,
  FederationFront,
  namesPlugin,
  ocspPlugin,
  HttpFront,
  startOperationsPort,
  type HttpIdentity,
  type HttpPlugin,
} from './http/index.ts';
export { Readiness } from './readiness.ts';
