import type {
  ManagedSigners,
  SignersState,
  SignItem,
  SignOutcome,
  TokenAdmin,
} from '../../src/hsm/index.ts';

/** Signers without a token: they sign everything with the same byte, and count. */
export class FakeSigners implements ManagedSigners {
  signed = 0;

  useKey(): Promise<void> {
    return Promise.resolve();
  }

  forgetKey(): Promise<void> {
    return Promise.resolve();
  }

  sign(items: readonly SignItem[]): Promise<readonly SignOutcome[]> {
    this.signed += items.length;
    return Promise.resolve(items.map(() => ({ ok: true, signature: Buffer.of(1) })));
  }

  state(): SignersState {
    return {
      status: 'ready',
      reason: undefined,
      signers: 1,
      signersReady: 1,
      respawns: 0,
      inFlight: 0,
      signatures: this.signed,
      chunks: 0,
    };
  }

  onChange(): () => void {
    return () => {};
  }

  pids(): readonly number[] {
    return [];
  }

  invalidateSessions(): void {}

  close(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** An open token without keys that counts what it signs and makes. */
export function fakeToken(): TokenAdmin & { readonly signed: number } {
  let signed = 0;
  return {
    get signed() {
      return signed;
    },
    generateKey: () => {
      signed += 1;
      return Promise.resolve({ spkiDer: Buffer.alloc(0) });
    },
    findKey: () => Promise.resolve(undefined),
    listKeys: () => Promise.resolve([]),
    sign: () => {
      signed += 1;
      return Promise.resolve(Buffer.of(1));
    },
    destroyKey: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}
