export { parseDnsName } from './dns-name.ts';
export { SpiffeIdPattern } from './pattern.ts';
export {
  agentId,
  controlPlaneId,
  isAgentId,
  isReserved,
  isServerId,
  serverId,
  tokenIssuerId,
  tokenIssuerOf,
} from './reserved.ts';
export { parseSelector, selectorText, validSelectors, type Selector } from './selector.ts';
export { expectPossible } from './selector-values.ts';
export { isPathSegment, SpiffeId, TrustDomain } from './spiffe-id.ts';
export { parseTemplate, Template, type AllowedValues } from './template.ts';
