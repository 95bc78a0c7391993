import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Breaches, type Drill, type DrillContext } from './drill.ts';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const demo = fileURLToPath(new URL(`../demo/main.${extension}`, import.meta.url));

interface Figures {
  readonly seconds: number | null;
  readonly renewals: number;
  readonly requests: number;
  readonly failedHandshakes: number;
}

/**
 * `npm start` without a terminal, from an empty state to two workloads in mTLS, and then a warm
 * start.
 */
export const firstIdentity: Drill = {
  name: 'first-identity',
  promise: 'two workloads come to mTLS from nothing, several renewals, no failed handshake',
  options: [
    '--seconds N          how long they talk (default 25 with --short, else 60)',
    '--warm N             a warm start takes at most so many seconds (default 15)',
  ],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const seconds = Number(options['seconds'] ?? (short ? 25 : 60));
    const warmLimit = Number(options['warm'] ?? 15);
    if (![seconds, warmLimit].every((each) => Number.isFinite(each) && each > 0))
      throw new Error('--seconds and --warm want a number');
    const home = await mkdtemp(join(tmpdir(), 'meshca-drill-'));
    try {
      say(`cold start in an empty state directory, then ${seconds} s of traffic`);
      const cold = await runDemo(home, seconds, { say, signal });
      say('warm start on the same state');
      const warm = await runDemo(home, short ? 1 : 5, { say, signal });
      const { seconds: first, renewals, requests, failedHandshakes } = cold;
      breaches.expect(
        first !== null && first < 180,
        `the first request in mTLS took ${first} s, promised are 180`,
      );
      breaches.expect(
        warm.seconds !== null && warm.seconds < warmLimit,
        `a warm start took ${warm.seconds} s, promised are ${warmLimit}`,
      );
      breaches.expect(requests > 0 && warm.requests > 0, 'no request was served');
      // lives of 30 s are renewed after 8 to 12 s; the tests must see one renewal of each, with
      // seconds to spare
      breaches.expect(
        renewals >= (short ? 2 : Math.floor(seconds / 13) * 2),
        `${renewals} renewals in ${seconds} s`,
      );
      breaches.expect(
        failedHandshakes === 0 && warm.failedHandshakes === 0,
        `${failedHandshakes} and ${warm.failedHandshakes} handshakes failed`,
      );
      say(`cold ${first} s, warm ${warm.seconds} s`);
      return {
        figures: { seconds: first, renewals, requests, failedHandshakes },
        broken: breaches.list,
      };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};

function runDemo(
  home: string,
  seconds: number,
  { say, signal }: Pick<DrillContext, 'say' | 'signal'>,
): Promise<Figures> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [demo, '--home', home, '--seconds', String(seconds), '--json'],
      { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
    );
    let out = '';
    let said = '';
    const end = (): void => void child.kill('SIGTERM');
    // the demo ends its parts in order, within time limits far below this one
    const limit = setTimeout(() => child.kill('SIGTERM'), (seconds + 240) * 1000);
    signal.addEventListener('abort', end, { once: true });
    child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-4000);
      for (const line of bytes.toString().split('\n'))
        if (line.trim() !== '' && !line.includes('requests served')) say(line);
    });
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(limit);
      signal.removeEventListener('abort', end);
      if (signal.aborted) reject(signal.reason as Error);
      else if (code !== 0) reject(new Error(`the demonstration ended with ${code}: ${said}`));
      else resolve(JSON.parse(out) as Figures);
    });
  });
}
