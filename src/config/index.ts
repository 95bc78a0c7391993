export {
  adminSocketPath,
  databasePath,
  loadServerConfig,
  readPin,
  rotationPolicy,
  serverEnvPrefix,
  serverJsonSchema,
} from './load.ts';
export { serverConfigSchema, type ServerConfig } from './schema.ts';
