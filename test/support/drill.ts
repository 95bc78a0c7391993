import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entry = fileURLToPath(new URL(`../../drills/main.${extension}`, import.meta.url));

export interface DrillRun {
  readonly code: number | null;
  /** What stood on stdout, parsed where it is JSON. */
  readonly figures: any;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a drill as `npm run drill --` does, from the same build as the test. */
export function runDrill(...args: readonly string[]): Promise<DrillRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [entry, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (bytes: Buffer) => (stdout += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
    child.once('error', reject);
    // before the runner gives up on the test, so that the drill can take down what it started
    const limit = setTimeout(() => child.kill('SIGINT'), 540_000);
    const end = setTimeout(() => child.kill('SIGKILL'), 570_000);
    child.once('close', (code) => {
      clearTimeout(limit);
      clearTimeout(end);
      let figures: unknown;
      try {
        figures = JSON.parse(stdout);
      } catch {
        figures = undefined;
      }
      resolve({ code, figures, stdout, stderr });
    });
  });
}
