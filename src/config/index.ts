export {
  adminSocketPath,
  authoritySetting,
  databasePath,
  loadServerConfig,
  readPin,
  rotationPolicy,
  serverEnvPrefix,
  serverJsonSchema,
  usesRootToken,
} from './load.ts';
export {
  reloadedServerKeys,
  rereadServerKeys,
  serverConfigSchema,
  type ServerConfig,
} from './schema.ts';
