export { standardApi, type StandardApiParts } from './standard-api.ts';
