import type { TokenConfig } from './token-port.ts';

/**
 * One login at a time for each token, over all processes that one server starts. A login may
 * rewrite the token's own record (SoftHSM does): another process that reads it just then finds a
 * token in error, or none. It also keeps the counter of wrong PINs at one. One object for signers
 * and token administration; a turn ends with its work, however that ends.
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
