import { fail, type Result } from '../common/errors/index.ts';
import type { ParsedCsr } from './types.ts';

export function parseCsr(der: Buffer): Result<ParsedCsr> {
  void der;
  return fail('NOT_IMPLEMENTED', 'in work');
}
