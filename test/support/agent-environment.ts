import { silentLogger, systemClock, systemRandom } from '../../src/common/runtime/index.ts';
import type { AgentEnvironment } from '../../sidecar/compose/environment.ts';

/** What the process edge gives to an agent, for one that runs inside of a test. */
export const agentEnvironment = (config: AgentEnvironment['config']): AgentEnvironment => ({
  config,
  logger: silentLogger,
  version: 'test',
  uid: process.getuid?.() ?? 0,
  pid: process.pid,
  clock: systemClock,
  random: systemRandom,
});
