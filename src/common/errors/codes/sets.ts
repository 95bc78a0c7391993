import { operator, type CodeInfo } from './code-info.ts';

/** Codes of the sets that the agent writes for servers that read files. */
export const setCodes = {
  TARGET_UNWRITABLE: operator(
    'FAILED_PRECONDITION',
    'A set of files can not be written, or can not be made the current one.',
    'Mend what the message names in the directory of the target. The agent tries again.',
  ),
  SET_INVALID: operator(
    'FAILED_PRECONDITION',
    'A set of files on disk is not as it must be, and is not served.',
    'Compare what the message names with the entry and the target, then stage a new set: "meshca set stage TARGET".',
  ),
} as const satisfies Record<string, CodeInfo>;
