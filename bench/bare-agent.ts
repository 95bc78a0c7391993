import { setFlagsFromString } from 'node:v8';

/**
 * The memory of an agent's imports: loads everything that `meshca agent run` loads, and starts
 * nothing. Run as a child; answers 'ready' to any message.
 */
if (process.argv[2] === '--bare-agent') {
  // as main.ts does for an agent
  setFlagsFromString('--optimize-for-size');
  process.on('message', () => {
    void Promise.all([
      import('../src/cli/program.ts'),
      import('../sidecar/main.ts'),
      import('../src/common/runtime/pino-logger.ts'),
    ]).then(() => process.send?.('ready'));
  });
  process.on('disconnect', () => process.exit(0));
}
