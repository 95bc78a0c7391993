export { localApi, localApiLimits, type LocalApiParts } from './local-api.ts';
