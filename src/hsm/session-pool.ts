import type graphene from 'graphene-pk11';

import { PkiError } from '../common/errors/index.ts';
import { calling, ckrName } from './ckr.ts';
import { isLoggedIn, openSession, type OpenToken } from './module.ts';

export interface PooledSession {
  readonly handle: Buffer;
  readonly generation: number;
}

/**
 * The sessions of one process. A PKCS#11 session runs one operation at a time, so that it belongs
 * to one caller from `acquire` to `release`. Owner of the state: the signer core.
 */
export class SessionPool {
  readonly #token: OpenToken;
  readonly #anchor: graphene.Session;
  #wanted: number;
  #generation = 0;
  #idle: PooledSession[] = [];
  #open = 0;
  #waiting: ((session: PooledSession) => void)[] = [];

  /**
   * `anchor` is the session that logged in. It is never used for an operation.
   *
   * @throws PkiError if no session can be opened
   */
  constructor(token: OpenToken, anchor: graphene.Session, size: number) {
    this.#token = token;
    this.#anchor = anchor;
    this.#wanted = size;
    this.#fill();
  }

  get size(): number {
    return this.#open;
  }

  /** An idle session, or a promise of the next session that becomes idle. */
  acquire(): PooledSession | Promise<PooledSession> {
    const session = this.#idle.pop();
    if (session !== undefined) return session;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** An idle session, for callers that never yield while they use it. */
  acquireNow(): PooledSession {
    const session = this.#idle.pop();
    if (session === undefined) throw new PkiError('INTERNAL', 'no session is idle');
    return session;
  }

  release(session: PooledSession): void {
    if (session.generation !== this.#generation) {
      this.#close(session);
      return;
    }
    const next = this.#waiting.shift();
    if (next !== undefined) next(session);
    else this.#idle.push(session);
  }

  /** Closes the idle sessions above `size`, for a mode that needs fewer. */
  shrink(size: number): void {
    this.#wanted = size;
    while (this.#open > size) {
      const session = this.#idle.shift();
      if (session === undefined) return;
      this.#open--;
      this.#close(session);
    }
  }

  /**
   * Uses each idle session once, since some tokens drop silent sessions.
   *
   * @throws PkiError HSM_UNAVAILABLE if a session has ended
   */
  keepAlive(): void {
    if (!isLoggedIn(this.#token, this.#anchor))
      throw new PkiError('HSM_UNAVAILABLE', 'C_GetSessionInfo: the login of the token has ended');
    for (const session of this.#idle) {
      calling('C_GetSessionInfo', () => this.#token.module.lib.C_GetSessionInfo(session.handle));
    }
    // the longest unused session is used next
    const first = this.#idle.shift();
    if (first !== undefined) this.#idle.push(first);
  }

  /**
   * Replaces all sessions. Sessions in use are closed when they are released. It does not log in:
   * an ended login needs the PIN. The parent hands the PIN to one signer at a time, so that a
   * changed PIN is tried once and not once per signer.
   *
   * @throws PkiError HSM_UNAVAILABLE if the login has ended
   */
  renew(): void {
    if (!isLoggedIn(this.#token, this.#anchor))
      throw new PkiError('HSM_UNAVAILABLE', 'C_GetSessionInfo: the login of the token has ended');
    this.#generation++;
    const old = this.#idle;
    this.#idle = [];
    this.#open = 0;
    for (const session of old) this.#close(session);
    this.#fill();
    while (this.#waiting.length > 0 && this.#idle.length > 0)
      this.#waiting.shift()?.(this.#idle.pop() as PooledSession);
  }

  #fill(): void {
    while (this.#open < this.#wanted) {
      try {
        const { handle } = openSession(this.#token);
        this.#idle.push({ handle, generation: this.#generation });
        this.#open++;
      } catch (thrown) {
        // The token may grant fewer sessions than requested. One is enough to work.
        if (
          this.#open > 0 &&
          thrown instanceof PkiError &&
          ckrName(thrown.cause) === 'CKR_SESSION_COUNT'
        )
          return;
        throw thrown;
      }
    }
  }

  #close(session: PooledSession): void {
    try {
      this.#token.module.lib.C_CloseSession(session.handle);
    } catch {
      // The session has already ended.
    }
  }
}
