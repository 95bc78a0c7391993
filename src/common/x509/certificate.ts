import { fail, type Result } from '../errors/index.ts';
import type { ParsedCertificate } from './types.ts';

export function parseCertificate(der: Buffer): Result<ParsedCertificate> {
  void der;
  return fail('NOT_IMPLEMENTED', 'in work');
}
