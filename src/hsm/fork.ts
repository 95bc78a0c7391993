import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface ForkOptions {
  /** The Node binary. */
  readonly execPath: string;
  /**
   * The whole environment of the child: nothing is inherited, so that no secret of the server's
   * environment reaches code of the module's vendor.
   */
  readonly environment: Readonly<Record<string, string>>;
  /** Threads for asynchronous signing. */
  readonly threads?: number;
}

/**
 * Starts one of our PKCS#11 processes. It receives everything over its IPC channel and ends with
 * it.
 */
export function forkHsmProcess(
  entry: 'signer-process' | 'token-admin-process',
  options: ForkOptions,
): ChildProcess {
  // TypeScript rewrites the extension of imports on emit, but not of this path.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fork(fileURLToPath(new URL(`./${entry}.${extension}`, import.meta.url)), [], {
    execPath: options.execPath,
    // Not those of the parent: an inspector port or a test runner's flags would break or expose the
    // child.
    execArgv: [],
    env: {
      ...options.environment,
      ...(options.threads === undefined ? {} : { UV_THREADPOOL_SIZE: String(options.threads) }),
    },
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
}

/**
 * Remembers the end of what the child wrote to stderr: a module that crashes often says why there.
 * Modules in a debug mode print their arguments, so the PIN is taken out.
 */
export function stderrTail(child: ChildProcess, pin: string): () => string {
  let tail = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    tail = (tail + text).slice(-2000);
  });
  return () => (pin === '' ? tail : tail.replaceAll(pin, '***')).trim();
}
