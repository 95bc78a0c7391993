import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import type { AgentMetrics } from '../metrics.ts';
import {
  AgentState,
  CheckpointKeeper,
  lockDirectory,
  LostState,
  StateWrites,
} from '../state/index.ts';
import type { AgentEnvironment } from './environment.ts';

/** What an agent keeps over restarts. */
export interface DataDirectory extends AsyncDisposable {
  readonly state: AgentState;
  /** What of it was missing or damaged, until the server was told. */
  readonly lost: LostState;
  readonly checkpoints: CheckpointKeeper;
  /** What is to stand in the state directory. */
  readonly writes: StateWrites;
}

/** Takes the state directory and keeps it until it is disposed. */
export async function openDataDirectory(
  { config, logger, pid, clock }: AgentEnvironment,
  trustDomain: TrustDomain,
  metrics: Pick<AgentMetrics, 'stateWriteFailed'>,
): Promise<DataDirectory> {
  await using started = new AsyncDisposableStack();
  const lock = await lockDirectory(config.dataDir, { pid, now: clock.now() });
  started.defer(() => lock.release());
  const writes = started.use(
    new StateWrites({
      directory: lock,
      clock,
      logger: logger.child({ part: 'state' }),
      onFailure: () => metrics.stateWriteFailed(),
    }),
  );
  const state = await AgentState.open(config.dataDir, trustDomain, writes);
  // a disk that keeps nothing is said from the start, and tried until it does
  await writes.put('new files', () => lock.assertKeeps());
  const lost = await LostState.open(config.dataDir, writes);
  const checkpoints = await CheckpointKeeper.open(config.dataDir, writes, (file) => {
    void lost.add(file, 'damaged');
    logger.warn({ file }, 'a file in the data directory is damaged; the agent goes on without it');
  });
  const parts = started.move();
  return {
    ...{ state, lost, checkpoints, writes },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
