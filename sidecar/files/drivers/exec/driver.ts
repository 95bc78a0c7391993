import { z } from 'zod';
import { PkiError, fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import { isOneLine, type Clock } from '../../../../src/common/runtime/index.ts';
import type { Applied, Driver, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { endedHow, saidBy } from '../program-end.ts';
import { runProgram } from '../run-program.ts';
import { said } from '../said.ts';

/**
 * The contract of a driver of one's own. The step (`stage`, `apply`, `verify`, `rollback` or
 * `remove`) is the argument after those of the configuration; the call is on standard input as one
 * JSON object with the fields of `DriverCall`.
 *
 * - exit 0: done. Standard output is empty, or one line of JSON with `trust` (`loaded` or `unknown`)
 *   and `note`, of which both may be absent.
 * - exit 3: refused. The server judged the set and keeps the old one; standard error says why.
 * - anything else: failed. It is not known what the server has.
 */
export const refusedExitCode = 3;

export type DriverStep = 'stage' | 'apply' | 'verify' | 'rollback' | 'remove';

const settings = z.strictObject({
  program: z
    .string()
    .startsWith('/')
    .describe('Absolute path of the program. Only root and the user of the agent may write there'),
  arguments: z
    .array(z.string().max(4096))
    .max(64)
    .default([])
    .describe('Arguments before the name of the step; no shell reads them'),
});

const answer = z.object({
  trust: z.enum(['loaded', 'unknown']).default('unknown'),
  note: z.string().max(400).refine(isOneLine).default(''),
});

export const exec = driverType({
  type: 'exec',
  settings,
  open: ({ program, arguments: given }, { clock }) => new ExecDriver([program, ...given], clock),
});

class ExecDriver implements Driver {
  readonly #argv: readonly string[];
  readonly #clock: Clock;

  constructor(argv: readonly string[], clock: Clock) {
    this.#argv = argv;
    this.#clock = clock;
  }

  stage = (call: DriverCall, signal: AbortSignal): Promise<Result<void>> =>
    this.#quiet('stage', call, signal);
  apply = (call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> =>
    this.#run('apply', call, signal);
  verify = (call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> =>
    this.#run('verify', call, signal);
  rollback = (call: DriverCall, signal: AbortSignal): Promise<Result<void>> =>
    this.#quiet('rollback', call, signal);
  remove = (call: DriverCall, signal: AbortSignal): Promise<Result<void>> =>
    this.#quiet('remove', call, signal);

  async #quiet(step: DriverStep, call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    const result = await this.#run(step, call, signal);
    return result.ok ? ok(undefined) : result;
  }

  async #run(step: DriverStep, call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    const end = await runProgram(
      { argv: [...this.#argv, step], input: `${JSON.stringify(call)}\n`, environment: {} },
      this.#clock,
      signal,
    );
    const program = this.#argv[0] as string;
    if (end.exitCode === 0) return ok(readAnswer(program, step, end.stdout));
    const refused = end.exitCode === refusedExitCode;
    return fail(
      refused ? 'DRIVER_REFUSED' : 'DRIVER_FAILED',
      `${program} ${step} ${refused ? 'refused the set' : endedHow(end)}: ${saidBy(end)}`,
    );
  }
}

function readAnswer(program: string, step: DriverStep, stdout: string): Applied {
  const text = stdout.trim();
  if (text === '') return { trust: 'unknown', note: '' };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  const read = answer.safeParse(parsed);
  if (read.success) return read.data;
  throw new PkiError(
    'DRIVER_FAILED',
    `${program} ${step} ended with 0, and its standard output is no answer: ${said(text)}`,
    {
      next: 'Print nothing on standard output, or one line of JSON such as {"trust":"unknown","note":"reloaded"}; all else belongs to standard error.',
    },
  );
}
