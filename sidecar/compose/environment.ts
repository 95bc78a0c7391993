import type { Clock, Logger, Random } from '../../src/common/runtime/index.ts';
import type { AgentConfig } from '../config.ts';

/** What the process edge passes to an agent. */
export interface AgentEnvironment {
  readonly config: AgentConfig;
  readonly logger: Logger;
  readonly version: string;
  /** The agent's own user, who may use the local API. */
  readonly uid: number;
  /** The process ID, shown to another agent that is refused the same data directory. 0 hides it. */
  readonly pid: number;
  readonly clock: Clock;
  readonly random: Random;
}
