import { done, row, type AdviceRow } from './row.ts';
import type { deliveryCodes } from '../../../src/common/errors/codes/deliveries.ts';

export const deliveryAdvice = {
  TARGET_ENDING: row(
    'a staged set waits for a hand until the certificate before it is about to end',
    [
      'unit/sidecar/files/delivery.test.ts',
      'by hand stays so, is renewed, and says so when its predecessor is about to end',
    ],
    done('promotes the staged set', 'it is served and proven'),
  ),
} as const satisfies Record<keyof typeof deliveryCodes, AdviceRow>;
