import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface ForkOptions {
  /** Path of the Node binary. */
  readonly execPath: string;
  /**
   * The whole environment of the child. Nothing is inherited, so that no secret of the server's
   * environment reaches the vendor's module.
   */
  readonly environment: Readonly<Record<string, string>>;
  /** Threads for asynchronous signing. */
  readonly threads?: number;
}

/**
 * Starts one of our PKCS#11 processes. It receives everything over its IPC channel, and ends when
 * the channel closes.
 */
export function forkHsmProcess(
  entry: 'signer-process' | 'token-admin-process',
  options: ForkOptions,
): ChildProcess {
  // TypeScript rewrites the extension of imports on emit, but not of this path.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fork(fileURLToPath(new URL(`./${entry}.${extension}`, import.meta.url)), [], {
    execPath: options.execPath,
    // Not those of the parent: an inspector port or flags of a test runner would break or expose
    // the child.
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
 * Keeps the last part of what the child wrote to stderr: a crashing module often states the reason
 * there. The PIN is removed, because modules in debug mode print their arguments.
 */
export function stderrTail(child: ChildProcess, pinOf: () => string): () => string {
  let tail = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    tail = (tail + text).slice(-2000);
  });
  return () => {
    const pin = pinOf();
    return (pin === '' ? tail : tail.replaceAll(pin, '***')).trim();
  };
}
