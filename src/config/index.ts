export {
  adminSocketPath,
  databasePath,
  loadServerConfig,
  readPin,
  rotationPolicy,
  serverEnvPrefix,
  serverJsonSchema,
} from './load.ts';
export {
  reloadedServerKeys,
  rereadServerKeys,
  serverConfigSchema,
  type ServerConfig,
} from './schema.ts';
