export { admission } from './admission.ts';
export { startAdminListener } from './admin-listener.ts';
export { Connections, type Connection } from './connections.ts';
export { buildGrpcServer, type GrpcFront } from './grpc-server.ts';
export type { CallContext, GuardDependencies } from './guard.ts';
export { ServerMetrics } from './metrics.ts';
export { startOpsListener } from './ops-listener.ts';
export { Readiness } from './readiness.ts';
export { startTlsListener, type Listening, type TlsIdentity } from './tls-listener.ts';
