export { IssuerConnection, type ConnectionOptions } from './connection.ts';
export { verifyServer, type ServerTrust, type VerifiedServer } from './server-trust.ts';
export { type ClientIdentity } from './channel-credentials.ts';
