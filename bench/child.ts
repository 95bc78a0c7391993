import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A process of the bench that answers one request at a time over its IPC channel. */
export class BenchChild implements Disposable {
  readonly #child: ChildProcess;

  /** `module` beside this file, without extension: it is .ts in the sources and .js in dist/. */
  constructor(
    module: string,
    flag: string,
    options: {
      readonly execPath: string;
      readonly nodeFlags?: readonly string[];
      readonly env?: Readonly<Record<string, string | undefined>>;
    },
  ) {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#child = fork(
      fileURLToPath(new URL(`./${module}.${extension}`, import.meta.url)),
      [flag],
      {
        execPath: options.execPath,
        execArgv: [...(options.nodeFlags ?? [])],
        serialization: 'advanced',
        ...(options.env === undefined ? {} : { env: { ...options.env } }),
      },
    );
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  ask<T>(message: object): Promise<T> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null, signal: string | null): void =>
        reject(new Error(`a process of the bench ended: ${signal ?? code}`));
      this.#child.once('exit', ended);
      this.#child.once('message', (answer) => {
        this.#child.off('exit', ended);
        resolve(answer as T);
      });
      this.#child.send(message);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
