import { PkiError } from '../common/errors/index.ts';
import type { LeafInput } from './types.ts';

export function buildLeafTbs(input: LeafInput): Buffer {
  void input;
  throw new PkiError('NOT_IMPLEMENTED', 'in work');
}
