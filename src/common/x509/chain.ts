import { fail, type Result } from '../errors/index.ts';
import type { VerifiedChain, VerifyChainInput } from './types.ts';

export function verifyChain(input: VerifyChainInput): Result<VerifiedChain> {
  void input;
  return fail('NOT_IMPLEMENTED', 'in work');
}
