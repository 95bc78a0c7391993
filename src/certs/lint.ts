import { fail, type Result } from '../common/errors/index.ts';
import type { LintContext, Profile } from './types.ts';

export function lint(tbsDer: Buffer, profile: Profile, context: LintContext): Result<void> {
  void [tbsDer, profile, context];
  return fail('NOT_IMPLEMENTED', 'in work');
}
