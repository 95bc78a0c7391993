import type { TokenConfig } from './token-port.ts';

/**
 * Allows one login at a time for each token, over all processes of one server. A login may rewrite
 * the token's own record (SoftHSM does this). Another process that reads the record at that moment
 * finds a broken token, or none. Turns also keep the counter of wrong PINs at one. Signers and
 * token administration share one object. A turn ends with its work, also after an error.
 */
export class LoginTurns {
  readonly #tails = new Map<string, Promise<unknown>>();

  async take<Result>(
    { modulePath, tokenLabel, environment }: TokenConfig,
    work: () => Promise<Result>,
  ): Promise<Result> {
    const key = JSON.stringify([modulePath, tokenLabel, environment?.['SOFTHSM2_CONF']]);
    const turn = (this.#tails.get(key) ?? Promise.resolve()).then(work);
    const tail = turn.catch(() => {});
    this.#tails.set(key, tail);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
