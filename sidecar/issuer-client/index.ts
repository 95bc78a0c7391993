export { IssuerConnection, type ConnectionOptions } from './connection.ts';
export {
  verifyServer,
  type ServerTrust,
  type VerifiedServer,
} from '../../src/common/wire/server-trust.ts';
export { type ClientIdentity } from '../../src/common/wire/verifying-credentials.ts';
