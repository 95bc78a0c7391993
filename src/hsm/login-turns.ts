import { createHash } from 'node:crypto';
import { PkiError } from '../common/errors/index.ts';
import type { TokenConfig } from './token-port.ts';

/** What the logins of one server to a token have shown. PINs are remembered as digests. */
interface PinRecord {
  accepted: string | undefined;
  readonly refused: Map<string, PkiError>;
}

/**
 * Allows one login at a time for each token, over all processes of one server. A login may rewrite
 * the token's own record (SoftHSM does this). Another process that reads the record at that moment
 * finds a broken token, or none. Turns also keep the counter of wrong PINs at one: a PIN that the
 * token refused is not tried again by this server, whoever brings it, until the token has accepted
 * another new PIN. Signers and token administration share one object. A turn ends with its work,
 * also after an error.
 */
export class LoginTurns {
  readonly #tails = new Map<string, Promise<unknown>>();

  readonly #pins = new Map<string, PinRecord>();

  /** @throws PkiError HSM_PIN_WRONG for a PIN that was refused before, without a login */
  async take<Result>(
    { modulePath, tokenLabel, pin, environment }: TokenConfig,
    work: () => Promise<Result>,
  ): Promise<Result> {
    const key = JSON.stringify([modulePath, tokenLabel, environment?.['SOFTHSM2_CONF']]);
    const turn = (this.#tails.get(key) ?? Promise.resolve()).then(() =>
      this.#remembering(key, pin, work),
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
    work: () => Promise<Result>,
  ): Promise<Result> {
    const record = this.#pins.get(key) ?? { accepted: undefined, refused: new Map() };
    this.#pins.set(key, record);
    const digest = createHash('sha256').update(pin).digest('hex');
    const refusal = record.refused.get(digest);
    if (refusal !== undefined)
      throw new PkiError(
        refusal.code,
        `this PIN was refused before, and is not tried again: ${refusal.message}`,
        {
          cause: refusal,
          grade: 'fatal',
          next: 'Put the right PIN in its place and send SIGHUP to the server. If this PIN has become right since, restart the server: it then tries the PIN once.',
        },
      );
    try {
      const result = await work();
      // a new PIN that the token takes resets its counter
      if (record.accepted !== digest) record.refused.clear();
      record.accepted = digest;
      return result;
    } catch (thrown) {
      if (thrown instanceof PkiError && isRefused(thrown)) record.refused.set(digest, thrown);
      throw thrown;
    }
  }
}

const isRefused = ({ code }: PkiError): boolean =>
  code === 'HSM_PIN_WRONG' || code === 'HSM_PIN_LOCKED';
