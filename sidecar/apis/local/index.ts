export { localApi, localApiLimits, type LocalApiDependencies } from './local-api.ts';
