import { spawn } from 'node:child_process';
import { PkiError } from '../common/errors/index.ts';

/**
 * Signs with ssh-keygen, which asks for passphrase, PIN or touch on the terminal. This process
 * never sees the private key.
 */
export function sshKeygenSign(
  {
    keyPath,
    namespace,
    signal,
  }: { readonly keyPath: string; readonly namespace: string; readonly signal: AbortSignal },
  message: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (reason: string): void =>
      reject(
        new PkiError('SSH_SIGNATURE_INVALID', `ssh-keygen did not sign: ${reason}`, {
          next:
            'Check the path of the key, and check that OpenSSH 8.2 or later is installed. Or ' +
            'sign elsewhere and use "meshca approval submit".',
        }),
      );
    const child = spawn('ssh-keygen', ['-q', '-Y', 'sign', '-n', namespace, '-f', keyPath], {
      stdio: ['pipe', 'pipe', 'inherit'],
      signal,
    });
    const chunks: Buffer[] = [];
    child.on('error', (error) => failed(error.message));
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('close', (code) =>
      code === 0
        ? resolve(Buffer.concat(chunks).toString('utf8'))
        : failed(`exit code ${code ?? 'none'}`),
    );
    child.stdin.on('error', () => {});
    child.stdin.end(message);
  });
}
