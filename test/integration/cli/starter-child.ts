// Starts a server or agent that ends as soon as it has started, and prints what it says:
//   node start-once.ts server|agent CONFIG
import { runServer } from '../../../src/compose/run.ts';
import { ReloadRequests, silentLogger } from '../../../src/common/runtime/index.ts';
import { runAgent } from '../../../sidecar/main.ts';

const [, , kind, configPath = ''] = process.argv;

const start = (path: string, err: (text: string) => void): Promise<number> =>
  kind === 'server'
    ? runServer({
        configPath: path,
        env: {},
        pid: process.pid,
        uid: process.getuid?.() ?? 0,
        execPath: process.execPath,
        isTerminal: false,
        err,
        signal: AbortSignal.abort(),
        reloads: new ReloadRequests(),
      })
    : runAgent({
        configPath: path,
        env: {},
        stdout: process.stdout,
        stderr: { write: (text: string) => err(text) } as unknown as NodeJS.WritableStream,
        logger: silentLogger,
        signal: AbortSignal.abort(),
        reloads: new ReloadRequests(),
      });

process.exit(await start(configPath, (text) => void process.stderr.write(text)));
