import type { ChildProcess } from 'node:child_process';

import { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import { isFinal } from './ckr.ts';
import type { KeyHandle } from './signing-port.ts';
import type { TokenAdmin, TokenConfig, TokenKey } from './token-port.ts';
import { forkHsmProcess, stderrTail } from './fork.ts';
import { guardSoftHsm, softHsmDenied } from './softhsm-guard.ts';
import type { LoginTurns } from './login-turns.ts';
import {
  fromWire,
  type AdminCall,
  type AdminResult,
  type FromAdmin,
  type ToAdmin,
} from './protocol.ts';

export interface TokenAdminOptions {
  /** Milliseconds for each operation. Default: 30000. */
  readonly deadlineMs?: number;
  /** Milliseconds for a key generation: RSA-4096 takes long on a network HSM. Default: 120000. */
  readonly generateDeadlineMs?: number;
  /** Shared with the signers of the same server. */
  readonly logins?: LoginTurns;
  /** Path of the Node binary: process.execPath, read at the process edge. */
  readonly execPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Starts a process and logs in, once. If this throws, no process is left.
 *
 * @throws PkiError HSM_MODULE_MISSING, HSM_TOKEN_NOT_FOUND, HSM_PIN_WRONG, HSM_PIN_LOCKED,
 *   HSM_UNAVAILABLE, HSM_FAILED
 */
export async function openTokenAdmin(
  token: TokenConfig,
  options: TokenAdminOptions,
): Promise<TokenAdmin & AsyncDisposable> {
  guardSoftHsm(token, options.logger);
  const child = forkHsmProcess('token-admin-process', {
    execPath: options.execPath,
    environment: token.environment ?? {},
  });
  const admin = new ForkedTokenAdmin(child, options, token.pin);
  try {
    await (options.logins === undefined
      ? admin.open(token)
      : options.logins.take(
          token,
          () => token.pin,
          () => admin.open(token),
        ));
  } catch (thrown) {
    await admin.close();
    throw softHsmDenied(token, thrown) ?? thrown;
  }
  return admin;
}

/**
 * Owner of the child. Operations run one after another. The first that misses its deadline ends the
 * process, and all later ones fail with HSM_UNAVAILABLE.
 */
class ForkedTokenAdmin implements TokenAdmin, AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #options: TokenAdminOptions;
  readonly #exited: Promise<void>;
  readonly #stderr: () => string;
  #tail: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #waiting:
    | {
        readonly id: number;
        readonly resolve: (result: AdminResult) => void;
        readonly reject: (error: PkiError) => void;
      }
    | undefined;
  #ended: PkiError | undefined;

  constructor(child: ChildProcess, options: TokenAdminOptions, pin: string) {
    this.#child = child;
    this.#options = options;
    this.#stderr = stderrTail(child, () => pin);
    this.#exited = new Promise((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => {
        if (child.pid === undefined) resolve();
      });
    });
    child.on('message', (message) => this.#receive(message as FromAdmin));
    child.on('error', (error) =>
      this.#end(
        new PkiError('HSM_UNAVAILABLE', `token-admin process: ${error.message}`, { cause: error }),
      ),
    );
    child.on('exit', (code, signal) => {
      const stderrText = this.#stderr();
      this.#end(
        new PkiError(
          'HSM_UNAVAILABLE',
          `token-admin process ended (${signal ?? `exit ${code}`})${stderrText === '' ? '' : `: ${stderrText}`}`,
        ),
      );
    });
  }

  async open({ modulePath, tokenLabel, pin }: TokenConfig): Promise<void> {
    await this.#call({ name: 'open', token: { modulePath, tokenLabel, pin } });
  }

  async generateKey(key: {
    readonly ckaId: string;
    readonly label: string;
    readonly keyType: KeyHandle['keyType'];
  }): Promise<{ readonly spkiDer: Buffer }> {
    const { ckaId, label, keyType } = key;
    return (await this.#call({ name: 'generate-key', ckaId, label, keyType })) as {
      spkiDer: Buffer;
    };
  }

  async findKey(ckaId: string): Promise<TokenKey | undefined> {
    return ((await this.#call({ name: 'find-key', ckaId })) as { key: TokenKey | undefined }).key;
  }

  async listKeys(): Promise<readonly TokenKey[]> {
    return ((await this.#call({ name: 'list-keys' })) as { keys: readonly TokenKey[] }).keys;
  }

  async sign(key: KeyHandle, bytes: Buffer): Promise<Buffer> {
    const { ckaId, keyType, spkiDer } = key;
    return (
      (await this.#call({ name: 'sign', key: { ckaId, keyType, spkiDer }, bytes })) as {
        signature: Buffer;
      }
    ).signature;
  }

  async generateMacKey({
    ckaId,
    label,
  }: {
    readonly ckaId: string;
    readonly label: string;
  }): Promise<{ readonly checkValue: Buffer }> {
    return (await this.#call({ name: 'generate-mac-key', ckaId, label })) as {
      checkValue: Buffer;
    };
  }

  async findMacKey(ckaId: string): Promise<{ readonly checkValue: Buffer } | undefined> {
    const { checkValue } = (await this.#call({ name: 'find-mac-key', ckaId })) as {
      checkValue: Buffer | undefined;
    };
    return checkValue === undefined ? undefined : { checkValue };
  }

  async destroyKey(ckaId: string): Promise<void> {
    await this.#call({ name: 'destroy-key', ckaId });
  }

  async close(): Promise<void> {
    if (this.#ended === undefined) await this.#call({ name: 'close' }).catch(() => {});
    this.#end(new PkiError('SHUTTING_DOWN', 'the token administration is closed'));
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #call(call: AdminCall): Promise<AdminResult> {
    const turn = this.#tail.then(() => this.#callNow(call));
    this.#tail = turn.catch(() => {});
    return turn;
  }

  async #callNow(call: AdminCall): Promise<AdminResult> {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#nextId++;
    const deadlineMs =
      call.name === 'generate-key'
        ? (this.#options.generateDeadlineMs ?? 120_000)
        : (this.#options.deadlineMs ?? 30_000);
    const cancel = this.#options.clock.after(deadlineMs, () => {
      this.#end(
        new PkiError(
          'HSM_UNAVAILABLE',
          `${call.name}: the token did not answer within ${deadlineMs} ms`,
        ),
      );
    });
    try {
      return await new Promise<AdminResult>((resolve, reject) => {
        this.#waiting = { id, resolve, reject };
        const message: ToAdmin = { id, call };
        this.#child.send(message, (error) => {
          if (error)
            this.#end(
              new PkiError('HSM_UNAVAILABLE', `token-admin process: ${error.message}`, {
                cause: error,
              }),
            );
        });
      });
    } finally {
      cancel();
    }
  }

  #receive(message: FromAdmin): void {
    const waiting = this.#waiting;
    if (waiting?.id !== message.id) return;
    this.#waiting = undefined;
    if (message.ok) waiting.resolve(message.result);
    else waiting.reject(fromWire(message.error, isFinal(message.error.code) ? 'fatal' : 'request'));
  }

  #end(error: PkiError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#child.kill('SIGKILL');
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(error);
  }
}
