import { createHash } from 'node:crypto';
import { PkiError } from '../common/errors/index.ts';
import type { TokenConfig } from './token-port.ts';

/**
 * Allows one login at a time for each token, over all processes of one server. A login may rewrite
 * the token's own record (SoftHSM does this). Another process that reads the record at that moment
 * finds a broken token, or none. Turns also keep the counter of wrong PINs at one: a PIN that the
 * token refused is not tried again by this process, whoever brings it. Signers and token
 * administration share one object. A turn ends with its work, also after an error.
 */
export class LoginTurns {
  readonly #tails = new Map<string, Promise<unknown>>();
  /** By token: digests of PINs that it refused. The PINs that it took are not remembered. */
  readonly #refused = new Map<string, Map<string, PkiError>>();

  /**
   * `pin` is read when the turn comes: an earlier turn may have found another PIN to be right.
   *
   * @throws PkiError HSM_PIN_WRONG for a PIN that was refused before, without a login
   */
  async take<Result>(
    { modulePath, tokenLabel, environment }: Omit<TokenConfig, 'pin'>,
    pin: () => string,
    work: (pin: string) => Promise<Result>,
  ): Promise<Result> {
    const key = JSON.stringify([modulePath, tokenLabel, environment?.['SOFTHSM2_CONF']]);
    const turn = (this.#tails.get(key) ?? Promise.resolve()).then(() =>
      this.#remembering(key, pin(), work),
    );
    const tail = turn.catch(() => {});
    this.#tails.set(key, tail);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }

  async #remembering<Result>(
    key: string,
    pin: string,
    work: (pin: string) => Promise<Result>,
  ): Promise<Result> {
    const refused = this.#refused.get(key) ?? new Map<string, PkiError>();
    this.#refused.set(key, refused);
    const digest = createHash('sha256').update(pin).digest('hex');
    const refusal = refused.get(digest);
    if (refusal !== undefined)
      throw new PkiError(
        refusal.code,
        `this PIN was refused before, and is not tried again: ${refusal.message}`,
        {
          cause: refusal,
          grade: 'fatal',
          next:
            'Put the right PIN in its place and send SIGHUP to the server. If this PIN has ' +
            'become right since, restart the server: it then tries the PIN once.',
        },
      );
    try {
      return await work(pin);
    } catch (thrown) {
      if (thrown instanceof PkiError && isRefused(thrown)) refused.set(digest, thrown);
      throw thrown;
    }
  }
}

const isRefused = ({ code }: PkiError): boolean =>
  code === 'HSM_PIN_WRONG' || code === 'HSM_PIN_LOCKED';
