import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from '../support/until.ts';
import type { Language } from './foreign-programs.ts';

/** What a client last said of its X.509 context. */
export interface SeenIdentity {
  readonly spiffeId: string;
  readonly serial: string;
  readonly roots: readonly string[];
  /** The foreign trust domains whose bundles it has. Only go-spiffe's client says it. */
  readonly foreign?: readonly string[];
}

interface Line {
  readonly event: string;
  readonly port?: number | string;
  readonly peer?: string;
  readonly subject?: string;
  readonly token?: string;
  readonly bundle?: string;
  readonly error?: string;
}

/** The binary that the kernel will name for a command. */
export function executableOf(command: readonly string[]): string {
  const [program = ''] = command;
  if (program.includes('/')) return realpathSync(program);
  const folder = (process.env['PATH'] ?? '').split(delimiter).find((each) => {
    try {
      accessSync(join(each, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (folder === undefined) throw new Error(`${program} is not on PATH`);
  return realpathSync(join(folder, program));
}

/** One program of test/interop/clients. Owner of its process. */
export class ForeignClient {
  readonly language: Language;
  readonly identities: SeenIdentity[] = [];
  readonly #child: ChildProcess;
  readonly #answers: Line[] = [];
  #port: number | undefined;
  #stderr = '';
  #asked: Promise<unknown> = Promise.resolve();

  constructor(language: Language, command: readonly string[], socketPath: string) {
    this.language = language;
    const [program = '', ...args] = command;
    this.#child = spawn(program, args, {
      env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${socketPath}` },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => (this.#stderr += bytes.toString()));
    this.#child.stdin?.on('error', () => {});
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (text) =>
      this.#read(JSON.parse(text)),
    );
  }

  #read(line: Line): void {
    if (line.event === 'identity') this.identities.push(line as unknown as SeenIdentity);
    else if (line.event === 'ready') this.#port = Number(line.port);
    else this.#answers.push(line);
  }

  get identity(): SeenIdentity | undefined {
    return this.identities.at(-1);
  }

  /** Waits for the condition; fails at once, with what it wrote, when the program has ended. */
  async until(condition: () => boolean, what: string): Promise<void> {
    await until(
      () => {
        if (this.#child.exitCode !== null)
          throw new Error(`${this.language} ended (${this.#child.exitCode}): ${this.#stderr}`);
        return condition();
      },
      `${this.language}: ${what}; it wrote: ${this.#stderr.slice(-2_000)}`,
    );
  }

  async ready(): Promise<void> {
    await this.until(() => this.#port !== undefined && this.identity !== undefined, 'ready');
  }

  get port(): number {
    if (this.#port === undefined) throw new Error(`${this.language} is not ready`);
    return this.#port;
  }

  /** The SPIFFE ID of the peer on the port, or the error of the handshake. */
  async dial(port: number): Promise<string> {
    const { peer, error } = await this.#ask(`dial ${port}`);
    return peer ?? `error: ${error}`;
  }

  /** The subject of a JWT-SVID that it fetched and validated, or the error. */
  async jwt(audience: string): Promise<string> {
    const { subject, error } = await this.#ask(`jwt ${audience}`);
    return subject ?? `error: ${error}`;
  }

  /** A JWT-SVID. Only go-spiffe's client. */
  async token(audience: string): Promise<string> {
    const { token, error } = await this.#ask(`token ${audience}`);
    return token ?? `error: ${error}`;
  }

  /** The subject of a token of somebody else, or the error. Only go-spiffe's client. */
  async validate(audience: string, token: string): Promise<string> {
    const { subject, error } = await this.#ask(`validate ${audience} ${token}`);
    return subject ?? `error: ${error}`;
  }

  /** What a bundle endpoint gives, by go-spiffe's federation client, or the error. */
  async bundle(...words: readonly string[]): Promise<string> {
    const { bundle, error } = await this.#ask(`bundle ${words.join(' ')}`);
    return bundle ?? `error: ${error}`;
  }

  /** One question at a time: answers carry no number. */
  #ask(command: string): Promise<Line> {
    const answer = this.#asked.then(async () => {
      this.#answers.length = 0;
      this.#child.stdin?.write(`${command}\n`);
      await this.until(() => this.#answers.length > 0, `the answer to "${command}"`);
      return this.#answers[0] as Line;
    });
    this.#asked = answer.catch(() => {});
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
