import { done, row, type AdviceRow, type TestName } from './row.ts';
import type { driverCodes } from '../../../src/common/errors/codes/drivers.ts';

const exec = (name: string): TestName => ['integration/sidecar/files/drivers/exec.test.ts', name];

export const driverAdvice = {
  DRIVER_REFUSED: row(
    'a program of its own says that the server refused the set',
    exec('exit 3 is a refusal, with what the program said; the next delivery may do well'),
    done('corrects what the program named', 'the same set is taken'),
  ),
  DRIVER_FAILED: row(
    'the program is not there, may be replaced by others, or ends with an error',
    exec('a program that is not there, or that others may write, is not run'),
    done('puts the program there, writable by nobody else', 'the step is done'),
  ),
  DRIVER_TIMEOUT: row(
    'the program and its child ignore SIGTERM and hang',
    exec('a program that hangs is ended with all its children; a longer limit lets it finish'),
    done('raises timeoutSeconds', 'the step is done'),
  ),
  STAPLE_FAILED: row(
    'the program ends with an error, hangs, or may be replaced by others',
    [
      'integration/sidecar/files/drivers/exec.test.ts',
      'a program that gets no OCSP answer fails no step, and is told of each time',
    ],
    done('mends the program', 'it is told as done'),
  ),
} as const satisfies Record<keyof typeof driverCodes, AdviceRow>;
