import { inToken } from './in-token.ts';
import type { TestTokens } from './softhsm.ts';

/** Gives a token another PIN, as an operator does beside a running server. */
export function changePin(tokens: TestTokens, label: string, from: string, to: string): void {
  inToken({ tokens, token: { tokenLabel: label, pin: from } }, (session) =>
    session.setPin(from, to),
  );
}
