export {
  authorizeAny,
  authorizeBy,
  authorizeId,
  authorizeMemberOf,
  authorizePattern,
  type Authorizer,
} from './authorize.ts';
export type { SourceOptions } from './client.ts';
export type { HandshakeCounts } from './counters.ts';
export { parseEndpoint, type WorkloadEndpoint } from './endpoint.ts';
export {
  grpcChannelCredentials,
  grpcPeerId,
  listenGrpc,
  type GrpcListener,
  type GrpcListenOptions,
} from './grpc.ts';
export { createHttpsServer, httpsAgent } from './https.ts';
export { JwtSource, type JwtSvid, type ValidatedJwtSvid } from './jwt-source.ts';
export { peerOf, type Peer } from './peers.ts';
export {
  connectTls,
  tlsClientOptions,
  type ClientOptions,
  type ConnectOptions,
} from './tls-client.ts';
export {
  createTlsServer,
  protectServer,
  tlsServerOptions,
  type ServerOptions,
} from './tls-server.ts';
export { issueWithToken, type TokenIdentity, type TokenSvidOptions } from './token-svid.ts';
export {
  pickHint,
  pickId,
  X509Source,
  type SvidPicker,
  type X509SourceOptions,
  type X509SourceStats,
} from './x509-source.ts';
export type { X509Bundles, X509Svid, X509Update } from './x509-update.ts';
export { PkiError, type ErrorCode } from '../common/errors/index.ts';
export { SpiffeId, TrustDomain } from '../common/spiffe/index.ts';
