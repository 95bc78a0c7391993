import { inspectFile, type InspectRequest } from './inspect-file.ts';

// process edge: inspector.ts forks it and sends one request at a time
process.on('message', (request: InspectRequest) => {
  try {
    process.send?.(inspectFile(request));
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code ?? 'unknown error';
    process.send?.({
      samePath: false,
      unlinked: false,
      problem: `the binary can not be read: ${code}`,
    });
  }
});
process.on('disconnect', () => process.exit(0));
