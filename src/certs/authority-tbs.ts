import { PkiError } from '../common/errors/index.ts';
import type { AuthorityInput } from './types.ts';

export function buildAuthorityTbs(input: AuthorityInput): Buffer {
  void input;
  throw new PkiError('NOT_IMPLEMENTED', 'in work');
}
