export { StreamsWithoutCrls } from './largest-message.ts';
export {
  defaultWorkloadApiLimits,
  type WorkloadApiLimits,
  type WorkloadApiDependencies,
} from './options.ts';
export { workloadApi } from './workload-api.ts';
