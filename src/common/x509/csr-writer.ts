import type { KeyObject } from 'node:crypto';
import { PkiError } from '../errors/index.ts';

export interface CsrOptions {
  /** Asked for as the only SAN, in an extensionRequest attribute. */
  readonly uriSan?: string;
}

export function createCsr(privateKey: KeyObject, options: CsrOptions = {}): Buffer {
  void privateKey;
  void options;
  throw new PkiError('NOT_IMPLEMENTED', 'in work');
}
