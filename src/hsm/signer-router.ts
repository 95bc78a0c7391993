import { PkiError } from '../common/errors/index.ts';
import type { MacKeyHandle } from './mac-port.ts';
import type { KeyHandle, SignItem, SignOutcome, SignersState } from './signing-port.ts';
import { failedOutcome } from './sign-queue.ts';
import type { ManagedSigners } from './signers.ts';

/**
 * Several tokens behind one port, each with its own signer processes. A failure of one (its circuit
 * opens, it becomes fatal) does not affect the others. A key belongs to the token that `useKey`
 * named. Owner of its signers.
 */
export class SignerRouter implements ManagedSigners {
  readonly #byToken: ReadonlyMap<string, ManagedSigners>;
  readonly #first: string;
  #primary: (() => string) | undefined;
  readonly #tokenOfKey = new Map<string, string>();

  constructor(byToken: ReadonlyMap<string, ManagedSigners>) {
    const [first] = byToken.keys();
    if (first === undefined) throw new PkiError('INTERNAL', 'a router needs at least one token');
    this.#byToken = byToken;
    this.#first = first;
  }

  /**
   * Names the token that signs now: its state is the state of the whole. Called once, when that is
   * known. Until then it is the first token.
   */
  follow(primary: () => string): void {
    if (this.#primary !== undefined)
      throw new PkiError('INTERNAL', 'the router already follows a token');
    this.#primary = primary;
  }

  primaryToken(): string {
    return this.#primary?.() ?? this.#first;
  }

  async useKey(key: KeyHandle): Promise<void> {
    await this.#holderOf(key).useKey(key);
    this.#tokenOfKey.set(key.ckaId, this.#tokenOf(key));
  }

  async useMacKey(key: MacKeyHandle): Promise<void> {
    await this.#holderOf(key).useMacKey(key);
    this.#tokenOfKey.set(key.ckaId, this.#tokenOf(key));
  }

  async mac(ckaId: string, input: Buffer): Promise<Buffer> {
    const signers = this.#byToken.get(this.#tokenOfKey.get(ckaId) ?? '');
    if (signers === undefined)
      throw new PkiError('HSM_KEY_NOT_FOUND', `no secret key with the CKA_ID ${ckaId} is in use`);
    return signers.mac(ckaId, input);
  }

  async forgetKey(ckaId: string): Promise<void> {
    const token = this.#tokenOfKey.get(ckaId);
    if (token === undefined) return;
    this.#tokenOfKey.delete(ckaId);
    await this.#byToken.get(token)?.forgetKey(ckaId);
  }

  async sign(items: readonly SignItem[], signal?: AbortSignal): Promise<readonly SignOutcome[]> {
    const parts = new Map<ManagedSigners, number[]>();
    const outcomes = new Array<SignOutcome>(items.length);
    for (const [index, item] of items.entries()) {
      const token = this.#tokenOfKey.get(item.ckaId);
      const signers = token === undefined ? undefined : this.#byToken.get(token);
      if (signers === undefined) {
        outcomes[index] = failedOutcome(
          'HSM_KEY_NOT_FOUND',
          `no key with the CKA_ID ${item.ckaId} is in use`,
        );
        continue;
      }
      const part = parts.get(signers);
      if (part === undefined) parts.set(signers, [index]);
      else part.push(index);
    }
    await Promise.all(
      [...parts].map(async ([signers, indexes]) => {
        const signed = await signers.sign(
          indexes.length === items.length
            ? items
            : indexes.map((index) => items[index] as SignItem),
          signal,
        );
        for (const [at, index] of indexes.entries()) outcomes[index] = signed[at] as SignOutcome;
      }),
    );
    return outcomes;
  }

  /** Status and reason of the token that signs; the counts of all tokens. */
  state(): SignersState {
    const { status, reason, code } = this.stateOf(this.primaryToken());
    const sum = { signers: 0, signersReady: 0, respawns: 0, inFlight: 0, signatures: 0, chunks: 0 };
    for (const signers of this.#byToken.values()) {
      const state = signers.state();
      for (const name of [
        'signers',
        'signersReady',
        'respawns',
        'inFlight',
        'signatures',
        'chunks',
      ] as const)
        sum[name] += state[name];
    }
    return { status, reason, code, ...sum };
  }

  /** The state of one token. A token that is not configured is `closed`. */
  stateOf(token: string): SignersState {
    return (
      this.#byToken.get(token)?.state() ?? {
        status: 'closed',
        reason: `no ${token} token is configured`,
        code: undefined,
        signers: 0,
        signersReady: 0,
        respawns: 0,
        inFlight: 0,
        signatures: 0,
        chunks: 0,
      }
    );
  }

  /** Whether this key can be used: its token was asked for it, and is reachable. */
  canUse(ckaId: string): boolean {
    const token = this.#tokenOfKey.get(ckaId);
    return token !== undefined && ['ready', 'degraded'].includes(this.stateOf(token).status);
  }

  onChange(listener: (state: SignersState) => void): () => void {
    const stops = [...this.#byToken.values()].map((signers) =>
      signers.onChange(() => listener(this.state())),
    );
    return () => {
      for (const stop of stops) stop();
    };
  }

  pids(): readonly number[] {
    return [...this.#byToken.values()].flatMap((signers) => signers.pids());
  }

  invalidateSessions(): void {
    for (const signers of this.#byToken.values()) signers.invalidateSessions();
  }

  /** Tries another PIN of the first token. */
  changePin(pin: string): Promise<boolean> {
    return this.changePinOf(this.#first, pin);
  }

  /** Tries another PIN of one token. Resolves to false for a token that is not configured. */
  changePinOf(token: string, pin: string): Promise<boolean> {
    return this.#byToken.get(token)?.changePin(pin) ?? Promise.resolve(false);
  }

  #tokenOf({ token }: { readonly token?: string }): string {
    return token ?? this.#first;
  }

  #holderOf(key: { readonly ckaId: string; readonly token?: string }): ManagedSigners {
    const token = this.#tokenOf(key);
    const signers = this.#byToken.get(token);
    if (signers === undefined)
      throw new PkiError(
        'HSM_UNAVAILABLE',
        `no ${token} token is configured, and the key ${key.ckaId} is in it`,
      );
    return signers;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#byToken.values()].map((signers) => signers.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
