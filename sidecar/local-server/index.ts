export { createSubscriptionSet, type SubscriptionSet } from './subscriptions.ts';
export { OpenCounter, RecentValues } from './limits.ts';
export {
  defaultLimits,
  silentMetrics,
  type LocalServer,
  type LocalServerLimits,
  type LocalServerMetrics,
  type LocalServerOptions,
  type ShownCertificate,
} from './options.ts';
export { createRefusalLog, type Refusal, type RefusalLog } from './refusals.ts';
export { startLocalServer } from './server.ts';
export { noIdentity, type Granted, type Session } from './session.ts';
export type {
  ApiHost,
  ApiService,
  Callers,
  DialogueMethod,
  MetadataRule,
  SocketApi,
  StreamMethod,
  UnaryMethod,
} from './socket-api.ts';
export { listenUnix, type ListeningSocket, type SocketOptions } from './socket.ts';
export { StreamConsumers } from './stream-consumers.ts';
export type { Content, StreamHandle, StreamSource } from './stream-source.ts';
