import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Which garbage is collected: `last-resort` also gives the pages that become free to the system. */
type Collect = (options: {
  readonly type: 'major';
  readonly execution: 'sync';
  readonly flavor: 'last-resort';
}) => void;

/**
 * Collects all garbage and returns the free memory to the system. A process that has started and is
 * idle allocates too little for V8 to do it. Blocks for about 50 ms, so it is for once after a start.
 * The collector is not left behind: no other code finds it as `gc`. Where V8 gives none, nothing happens.
 */
export function returnMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  if (typeof collect === 'function')
    (collect as Collect)({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
