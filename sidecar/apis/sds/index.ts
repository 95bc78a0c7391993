export { namesOf, type SecretNames, type Validation } from './names.ts';
export type { SdsDependencies, SdsMetrics } from './options.ts';
export { sdsApi } from './sds-api.ts';
