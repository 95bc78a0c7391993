import { done, row, type AdviceRow } from './row.ts';
import type { setCodes } from '../../../src/common/errors/codes/sets.ts';

export const setAdvice = {
  TARGET_UNWRITABLE: row(
    'the disk is full, or the directory was made open to others',
    [
      'integration/sidecar/files/set-directory.test.ts',
      'what made a set unwritable is said, and the set is written once it is mended: TARGET_UNWRITABLE',
    ],
    done('mends what the message names', 'the next set is written and served'),
  ),
  SET_INVALID: row(
    'a file of the set is changed after it was written',
    [
      'integration/sidecar/files/offline-check.test.ts',
      'a set that was changed on disk is refused with each fault, and a new one passes: SET_INVALID',
    ],
    done('stages a new set', 'it passes'),
  ),
} as const satisfies Record<keyof typeof setCodes, AdviceRow>;
