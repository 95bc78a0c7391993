import { connect } from 'node:net';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { addressOf } from '../local-address.ts';

/** One word, in which nothing ends a command. */
export const storeName = /^[A-Za-z0-9_./@:+=-]{1,1024}$/;

const maximumAnswer = 1024 * 1024;

/**
 * One command on HAProxy's runtime API, on a connection of its own. A payload ends with the first
 * blank line, so that it must have none. Rejects with the error of the system.
 */
export function tell(
  address: string,
  command: string,
  payload: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = connect(addressOf(address));
    const abort = (): void => void socket.destroy(new Error('aborted'));
    signal.addEventListener('abort', abort, { once: true });
    let answer = '';
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      answer += text;
      if (answer.length > maximumAnswer)
        socket.destroy(new PkiError('DRIVER_FAILED', 'the answer of HAProxy is too long'));
    });
    socket.on('error', reject);
    socket.on('close', () => {
      signal.removeEventListener('abort', abort);
      resolve(answer.trim());
    });
    socket.end(payload === undefined ? `${command}\n` : `${command} <<\n${payload}\n\n`);
  });
}

/** PEM without blank lines. */
export const asPayload = (...pems: readonly string[]): string =>
  pems
    .join('\n')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join('\n');
