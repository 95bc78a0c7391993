import { fail, type Result } from '../errors/index.ts';
import type { VerifiedSvid, VerifySvidInput } from './types.ts';

export function verifyX509Svid(input: VerifySvidInput): Result<VerifiedSvid> {
  void input;
  return fail('NOT_IMPLEMENTED', 'in work');
}
