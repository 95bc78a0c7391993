import { acmeCodes } from './codes/acme.ts';
import { agentCodes } from './codes/agents.ts';
import { bearerTokenCodes } from './codes/bearer-tokens.ts';
import { callerCodes } from './codes/callers.ts';
import { deliveryCodes } from './codes/deliveries.ts';
import { driverCodes } from './codes/drivers.ts';
import { federationCodes } from './codes/federation.ts';
import { identityCodes } from './codes/identities.ts';
import { issuingCodes } from './codes/issuing.ts';
import { probeCodes } from './codes/probes.ts';
import { recordCodes } from './codes/records.ts';
import { requestCodes } from './codes/requests.ts';
import { setCodes } from './codes/sets.ts';
import { targetCodes } from './codes/targets.ts';
import { tenantCodes } from './codes/tenants.ts';
import { tokenCodes } from './codes/tokens.ts';

export type { CodeInfo, StatusName } from './codes/code-info.ts';

/** The closed table of error codes. docs/errors.md is generated from it. */
export const codes = {
  ...requestCodes,
  ...identityCodes,
  ...callerCodes,
  ...issuingCodes,
  ...tokenCodes,
  ...bearerTokenCodes,
  ...recordCodes,
  ...probeCodes,
  ...agentCodes,
  ...deliveryCodes,
  ...driverCodes,
  ...setCodes,
  ...targetCodes,
  ...federationCodes,
  ...tenantCodes,
  ...acmeCodes,
} as const;

export type ErrorCode = keyof typeof codes;

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(codes, text);
