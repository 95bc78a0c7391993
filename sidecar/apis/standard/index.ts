export { standardApi, type StandardApiDependencies } from './standard-api.ts';
