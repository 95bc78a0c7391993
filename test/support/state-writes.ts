import { silentLogger, systemClock } from '../../src/common/runtime/index.ts';
import { StateWrites } from '../../sidecar/state/index.ts';

/** Writes into a directory that nobody locked: a test has it for itself. */
export const stateWrites = (): StateWrites =>
  new StateWrites({
    directory: { verify: () => Promise.resolve('held') },
    clock: systemClock,
    logger: silentLogger,
    onFailure: () => {},
  });
