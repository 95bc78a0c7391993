import { done, row, type AdviceRow } from './row.ts';
import type { probeCodes } from '../../../src/common/errors/codes/probes.ts';

const proving = 'integration/sidecar/probe/prove.test.ts';

export const probeAdvice = {
  PROBE_FAILED: row(
    'nothing listens at the address',
    [proving, 'a listener that nobody serves is told, and seen once somebody does'],
    done('starts the server', 'its certificate is shown'),
  ),
  PROOF_MISSING: row(
    'a server goes on with the certificate before',
    [proving, 'a server that shows the certificate before is named with it, until it reloads'],
    done('reloads the server', 'the new certificate is proven'),
  ),
} as const satisfies Record<keyof typeof probeCodes, AdviceRow>;
