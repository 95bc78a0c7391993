export type { Faults, ServerDependencies } from './context.ts';
export { startServer, type RunningServer } from './server.ts';
export { restoreDatabase, lostWith } from './restore.ts';
export { runServer, type RunServerOptions } from './run.ts';
export { checkServerMachine } from './doctor.ts';
