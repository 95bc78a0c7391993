import { fail } from '../../src/common/errors/index.ts';
import type { FileTargets } from '../../sidecar/ports/file-targets.ts';

const absent = async () => fail('NOT_FOUND', 'this agent has no file targets');

/** The file targets of an agent whose configuration has none. */
export const withoutTargets: FileTargets = {
  list: () => [],
  stage: absent,
  promote: absent,
  grantTurn: absent,
  rollback: absent,
  onChange: () => () => {},
};
