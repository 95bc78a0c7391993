export {
  defaultLimits,
  silentWorkloadApiMetrics,
  type WorkloadApi,
  type WorkloadApiLimits,
  type WorkloadApiMetrics,
  type WorkloadApiOptions,
  type WorkloadRpc,
} from './ports.ts';
export { createRefusalLog, type Refusal, type RefusalLog } from './refusals.ts';
export { listenUnix, type ListeningSocket, type SocketOptions } from './socket.ts';
export { startWorkloadApi } from './workload-api.ts';
