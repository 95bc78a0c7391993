import type { ErrorCode } from '../../../src/common/errors/index.ts';
import { acmeAdvice } from './acme.ts';
import { agentAdvice } from './agents.ts';
import { bearerTokenAdvice } from './bearer-tokens.ts';
import { callerAdvice } from './callers.ts';
import { deliveryAdvice } from './deliveries.ts';
import { driverAdvice } from './drivers.ts';
import { federationAdvice } from './federation.ts';
import { identityAdvice } from './identities.ts';
import { issuingAdvice } from './issuing.ts';
import { probeAdvice } from './probes.ts';
import { recordAdvice } from './records.ts';
import { requestAdvice } from './requests.ts';
import { setAdvice } from './sets.ts';
import { targetAdvice } from './targets.ts';
import { tenantAdvice } from './tenants.ts';
import { tokenAdvice } from './tokens.ts';
import type { AdviceRow } from './row.ts';

export type { AdviceRow, Followed, TestName } from './row.ts';

/** What came of the advice of each code. A new code does not compile before it has a row here. */
export const advice: Readonly<Record<ErrorCode, AdviceRow>> = {
  ...requestAdvice,
  ...identityAdvice,
  ...callerAdvice,
  ...issuingAdvice,
  ...tokenAdvice,
  ...bearerTokenAdvice,
  ...recordAdvice,
  ...probeAdvice,
  ...agentAdvice,
  ...deliveryAdvice,
  ...driverAdvice,
  ...setAdvice,
  ...targetAdvice,
  ...federationAdvice,
  ...tenantAdvice,
  ...acmeAdvice,
};
