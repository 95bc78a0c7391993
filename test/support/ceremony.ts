import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { runCeremony, type CeremonyOutcome } from '../../src/ceremony/index.ts';
import {
  silentLogger,
  systemClock,
  systemRandom,
  type Clock,
} from '../../src/common/runtime/index.ts';
import { createTokens, type TestTokens } from './softhsm.ts';

const run = promisify(execFile);

export interface HoldOptions {
  readonly dryRun?: boolean;
  /** What the operator answers; `undefined`: nobody can be asked. Default yes. */
  readonly answer?: boolean | undefined;
  readonly clock?: Clock;
}

/**
 * The offline machine of a ceremony: a token of its own, and a folder for plans, certificates and
 * transcripts.
 */
export interface CeremonyDesk extends AsyncDisposable {
  readonly dir: string;
  readonly tokens: TestTokens;
  file(name: string): string;
  /** Writes a plan with its own transcript; its path. */
  plan(sections: object, over?: object): string;
  hold(planPath: string, options?: HoldOptions): Promise<CeremonyOutcome>;
  /** What OpenSSL prints, in the folder of the desk. */
  openssl(...args: string[]): Promise<string>;
}

export async function createCeremonyDesk(trustDomain: string): Promise<CeremonyDesk> {
  const tokens = await createTokens({ labels: { root: 'offline-root' } });
  const dir = await mkdtemp(join(tmpdir(), 'meshca-ceremony-'));
  const file = (name: string): string => join(dir, name);
  let plans = 0;
  return {
    dir,
    tokens,
    file,
    plan: (sections, over = {}) => {
      plans += 1;
      const path = file(`plan-${plans}.yaml`);
      const token = {
        module: tokens.modulePath,
        softhsmConf: tokens.confPath,
        label: tokens.tokens.root.label,
        pinFile: tokens.tokens.root.pinFile,
      };
      writeFileSync(
        path,
        stringify({
          version: 1,
          trustDomain,
          token,
          transcript: `transcript-${plans}.txt`,
          ...sections,
          ...over,
        }),
      );
      return path;
    },
    hold: (planPath, options = {}) =>
      runCeremony({
        planPath,
        dryRun: options.dryRun ?? false,
        env: {},
        execPath: process.execPath,
        clock: options.clock ?? systemClock,
        random: systemRandom,
        logger: silentLogger,
        show: () => {},
        confirm: () => Promise.resolve('answer' in options ? options.answer : true),
      }),
    openssl: async (...args) => (await run('openssl', args, { cwd: dir })).stdout,
    [Symbol.asyncDispose]: async () => {
      await tokens[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The system's clock, so many days ahead or, if negative, behind. */
export const shiftedClock = (days: number): Clock => ({
  ...systemClock,
  nowMs: () => systemClock.nowMs() + days * 86_400_000,
  now: () => systemClock.now() + days * 86_400,
});
