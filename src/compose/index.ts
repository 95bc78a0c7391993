export { startServer, type RunningServer, type ServerParts } from './server.ts';
export { restoreDatabase, lostWith } from './restore.ts';
export { runServer, type RunServerOptions } from './run.ts';
