import { fail, type Result } from '../errors/index.ts';
import type { KeyType } from './key-type.ts';

export function keyTypeOfSpki(spkiDer: Buffer): Result<KeyType> {
  void spkiDer;
  return fail('NOT_IMPLEMENTED', 'in work');
}
