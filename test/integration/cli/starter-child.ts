// Starts servers and agents that end as soon as they have started, and tells what each says: a message
// with `kind` and `path` of the configuration is answered by one text.
import { runServer } from '../../../src/compose/run.ts';
import { ReloadRequests, silentLogger } from '../../../src/common/runtime/index.ts';
import { runAgent } from '../../../sidecar/main.ts';

export interface Start {
  readonly kind: 'server' | 'agent';
  /** Of the configuration. */
  readonly path: string;
}

const start = ({ kind, path }: Start, err: (text: string) => void): Promise<number> =>
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

process.on('message', (asked: Start) => {
  let said = '';
  void start(asked, (text) => (said += text)).then(() => process.send?.(said));
});
process.on('disconnect', () => process.exit());
