import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { until } from '../support/until.ts';
import { foreignProgram } from './foreign-programs.ts';

/** A line of the program in test/interop/istio. */
export interface Line {
  readonly event: 'identity' | 'refused' | 'answer';
  readonly serial?: string;
  readonly uris?: readonly string[];
  readonly keyType?: string;
  readonly roots?: number;
  readonly chain?: number;
  readonly code?: string;
  readonly error?: string;
}

/** Istio's own client. Owner of its process. */
export class IstioAgent implements AsyncDisposable {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  #stderr = '';

  constructor(options: Readonly<Record<string, string>>) {
    const [program = ''] = foreignProgram('istio');
    this.#child = spawn(
      program,
      Object.entries(options).flatMap(([name, value]) => [`-${name}`, value]),
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    this.#child.stderr?.on('data', (bytes: Buffer) => (this.#stderr += bytes.toString()));
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (text) =>
      this.lines.push(JSON.parse(text) as Line),
    );
  }

  get identities(): readonly Line[] {
    return this.lines.filter(({ event }) => event === 'identity');
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    await until(() => {
      if (this.#child.exitCode !== null && !condition())
        throw new Error(`the client ended: ${JSON.stringify(this.lines)} ${this.#stderr}`);
      return condition();
    }, what);
  }

  /** What it says first. */
  async first(): Promise<Line> {
    await this.until(() => this.lines.length > 0, 'the client of Istio says something');
    return this.lines[0] as Line;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end();
    await until(
      () => this.#child.exitCode !== null || this.#child.signalCode !== null,
      'the client of Istio ends',
    );
  }
}
