export {
  defaultWorkloadApiLimits,
  type WorkloadApiLimits,
  type WorkloadApiDependencies,
} from './options.ts';
export { workloadApi } from './workload-api.ts';
