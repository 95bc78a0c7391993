export { startServer, type RunningServer, type ServerParts } from './server.ts';
export { runServer, type RunServerOptions } from './run.ts';
