import { PkiError } from '../common/errors/index.ts';
import type { CrlInput } from './types.ts';

export function buildCrlTbs(input: CrlInput): Buffer {
  void input;
  throw new PkiError('NOT_IMPLEMENTED', 'in work');
}
