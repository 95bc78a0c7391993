import type { Clock, Logger, Random } from '../../src/common/runtime/index.ts';
import type { AgentConfig } from '../config.ts';

/** What the process edge gives to an agent. */
export interface AgentEnvironment {
  readonly config: AgentConfig;
  readonly logger: Logger;
  readonly version: string;
  /** The agent's own user, who may use the local API. */
  readonly uid: number;
  /** Of this process, for whoever is refused the same data directory; 0: it is not told. */
  readonly pid: number;
  readonly clock: Clock;
  readonly random: Random;
}
