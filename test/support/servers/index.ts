export { startCaddy } from './caddy.ts';
export { startEnvoyFiles } from './envoy-files.ts';
export { startHaproxy } from './haproxy.ts';
export { startNginx } from './nginx.ts';
export { postgresUser, startPostgres } from './postgres.ts';
export { redisPassword, startRedis } from './redis.ts';
export type { ServedDirectory } from './served-directory.ts';
export {
  handshake,
  servedSerial,
  type ClientOptions,
  type ClientPair,
} from './served-serial.ts';
export type { DriverSettings, RunningServer } from './server-process.ts';
export {
  clientOf,
  newAuthorities,
  setFiles,
  TargetDirectory,
  type TestAuthorities,
  type TestSetOptions,
} from './target-directory.ts';
export { startTraefik } from './traefik.ts';
export { codeOf, driverOf, DriverSteps, neverAborted } from './driver-steps.ts';
export { Guide } from './guide.ts';
