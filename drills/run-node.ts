import { spawn } from 'node:child_process';

/**
 * Runs a script with this Node. Sends SIGTERM after `limitMs`, or when the drill is stopped, which
 * rejects.
 */
export function runNode(
  args: readonly string[],
  limitMs: number,
  signal: AbortSignal,
): Promise<{ readonly code: number | null; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
    const stop = (): void => void child.kill('SIGTERM');
    const limit = setTimeout(stop, limitMs);
    signal.addEventListener('abort', stop, { once: true });
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(limit);
      signal.removeEventListener('abort', stop);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve({ code, stderr });
    });
  });
}
