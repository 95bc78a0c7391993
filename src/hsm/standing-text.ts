import type { ErrorCode } from '../common/errors/index.ts';
import type { SignersState } from './signing-port.ts';

const texts: Readonly<Record<Exclude<SignersState['status'], 'ready' | 'degraded'>, string>> = {
  starting: 'is being opened: its signers log in',
  // for those who read it the circuit is no door: "open" would sound as if the token could be used
  open:
    'can not be used: no signer reaches it. The server tries again by itself. Check that the ' +
    'HSM runs, that this machine reaches it (a network HSM: its address, client certificate ' +
    'and firewall), and the log of its module',
  fatal:
    'is not used again, and nothing is signed until an operator has mended it and restarted the server',
  closed: 'is closed: the server stops',
};

/** Why it is fatal, by the code of the reason. */
const fatalTexts: Readonly<Partial<Record<ErrorCode, string>>> = {
  HSM_PIN_WRONG:
    'refused the PIN, which is not tried again. Put the right PIN in its place and send ' +
    'SIGHUP to the server. If the same PIN has become right since, restart the server',
  HSM_PIN_LOCKED:
    'has locked its PIN, which is not tried again. Unlock the token with the PIN of its ' +
    'security officer. Then put a new PIN in its place and send SIGHUP to the server, or ' +
    'restart the server with the same PIN',
};

/** Why a token does not sign, for operators; undefined while it does. */
export function standingText(
  { status, reason, code }: Pick<SignersState, 'status' | 'reason' | 'code'>,
  token: string,
): string | undefined {
  if (status === 'ready' || status === 'degraded') return undefined;
  const because = reason === undefined ? '' : ` (${reason})`;
  const text = (status === 'fatal' && code !== undefined && fatalTexts[code]) || texts[status];
  return `the HSM (${token} token) ${text}${because}`;
}
