import type { SignersState } from './signing-port.ts';

const texts: Readonly<Record<Exclude<SignersState['status'], 'ready' | 'degraded'>, string>> = {
  starting: 'is being opened: its signers log in',
  // for those who read it the circuit is no door: "open" would sound as if the token could be used
  open: 'can not be used: no signer reaches it. The server tries again by itself. Check that the HSM runs, that this machine reaches it (a network HSM: its address, client certificate and firewall), and the log of its module',
  fatal:
    'is not tried again, and nothing is signed until an operator has mended it and restarted the server',
  closed: 'is closed: the server stops',
};

/** Why a token does not sign, for operators; undefined while it does. */
export function standingText(
  { status, reason }: Pick<SignersState, 'status' | 'reason'>,
  token: string,
): string | undefined {
  if (status === 'ready' || status === 'degraded') return undefined;
  const because = reason === undefined ? '' : ` (${reason})`;
  return `the HSM (${token} token) ${texts[status]}${because}`;
}
