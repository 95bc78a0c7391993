import { setFlagsFromString } from 'node:v8';
import { returnMemory } from '../src/common/runtime/return-memory.ts';

/**
 * The memory of an agent's imports: loads everything that `meshca agent run` loads, and starts
 * nothing. Run as a child; answers 'ready' to any message.
 */
if (process.argv[2] === '--bare-agent') {
  // as an agent does
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--max-semi-space-size=2');
  setFlagsFromString('--heap-growing-percent=40');
  process.on('message', () => {
    void Promise.all([
      import('../src/cli/program.ts'),
      import('../sidecar/main.ts'),
      import('../src/common/runtime/pino-logger.ts'),
    ]).then(() => {
      returnMemory();
      process.send?.('ready');
    });
  });
  process.on('disconnect', () => process.exit(0));
}
