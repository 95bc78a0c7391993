export { adminSocketPath, databasePath, loadServerConfig, readPin, serverEnvPrefix, serverJsonSchema } from './load.ts';
export { serverConfigSchema, type ServerConfig } from './schema.ts';
