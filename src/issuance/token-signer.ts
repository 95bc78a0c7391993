import type { Authority, TokenRole } from '../domain/index.ts';
import type { KeyHandle, SignOutcome } from '../hsm/signing-port.ts';
import type { TokenAdmin } from '../hsm/token-port.ts';
import type { SigningStep } from './recorded.ts';

/** The signing step with a key of an open token. Throws if the token does not sign. */
export const tokenSigner = (
  token: Pick<TokenAdmin, 'sign'>,
  key: KeyHandle,
): Pick<SigningStep, 'sign'> => ({
  async sign(items) {
    const outcomes: SignOutcome[] = [];
    for (const { bytes } of items)
      outcomes.push({ ok: true, signature: await token.sign(key, bytes) });
    return outcomes;
  },
});

/**
 * The signing step with the key of an authority. Its token is opened for this step only. If
 * `signal` is aborted before the intent is durable, nothing is recorded or signed.
 */
export const authoritySigner = (
  { token: role, ckaId, keyType, spkiDer }: Authority,
  openToken: (role: TokenRole) => Promise<TokenAdmin>,
  signal?: AbortSignal,
): Pick<SigningStep, 'sign' | 'wanted'> => ({
  wanted: () => signal?.aborted !== true,
  async sign(items) {
    const token = await openToken(role);
    try {
      const key = { ckaId, keyType, spkiDer: spkiDer as Buffer };
      return await tokenSigner(token, key).sign(items);
    } finally {
      await token.close();
    }
  },
});
