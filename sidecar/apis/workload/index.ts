export {
  defaultWorkloadApiLimits,
  type WorkloadApiLimits,
  type WorkloadApiParts,
} from './options.ts';
export { workloadApi } from './workload-api.ts';
