// Starts a server or agent as a user without rights, and prints what it says:
//   node unprivileged-start.ts server|agent CONFIG
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

// what is loaded late is loaded now: the other user may not be able to read the sources
const warm = mkdtempSync(join(tmpdir(), 'meshca-warm-'));
writeFileSync(join(warm, 'empty.json'), '{}');
await start(join(warm, 'empty.json'), () => {});
rmSync(warm, { recursive: true });

if (process.getuid?.() === 0) {
  process.setgroups?.([]);
  process.setgid?.(65_534);
  process.setuid?.(65_534);
}
process.exit(await start(configPath, (text) => void process.stderr.write(text)));
