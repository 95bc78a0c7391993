export { namesOf, type SecretNames, type Validation } from './names.ts';
export { silentSdsMetrics, type SdsDependencies, type SdsMetrics } from './options.ts';
export { sdsApi } from './sds-api.ts';
