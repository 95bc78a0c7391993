export { startLocalApi, type LocalApi, type LocalApiOptions } from './local-api.ts';
