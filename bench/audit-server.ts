import { ReloadRequests } from '../src/common/runtime/index.ts';
import { runServer } from '../src/compose/index.ts';

/**
 * A server as `meshca server run` starts it, or the same one without seals, tree and comparison
 * with the log. No configuration leads to the second; it exists to be measured against the first.
 */
const [configPath, mode] = process.argv.slice(2);
if (configPath !== undefined && (mode === 'with-log' || mode === 'without-log')) {
  const stop = new AbortController();
  process.on('SIGTERM', () => stop.abort());
  process.exitCode = await runServer({
    reloads: new ReloadRequests(),
    configPath,
    env: process.env,
    err: (text) => process.stderr.write(text),
    isTerminal: false,
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    execPath: process.execPath,
    signal: stop.signal,
    ...(mode === 'without-log' ? { faults: { withoutLog: true } } : {}),
  });
  setTimeout(() => process.exit(), 2_000).unref();
}
