import { PkiError } from '../common/errors/index.ts';
import { parseDuration } from './output.ts';

export interface StatedQuota {
  readonly quotaCertificates: number;
  readonly quotaSeconds: number;
}

export const quotaText = 'certificates in a time, such as 1000/24h; none: any number';

/** `1000/24h`. */
export function quotaOf(text: string): StatedQuota {
  if (text === 'none') return { quotaCertificates: 0, quotaSeconds: 0 };
  const [count = '', time = '', ...more] = text.split('/');
  if (!/^\d{1,8}$/.test(count) || time === '' || more.length > 0)
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text.slice(0, 40))} is no quota`, {
      next: 'Write the number of certificates and the time, such as 1000/24h, or none.',
    });
  return { quotaCertificates: Number(count), quotaSeconds: parseDuration(time) };
}
