import { isLoopback } from '../common/runtime/index.ts';
import { parseSelector, SpiffeId } from '../common/spiffe/index.ts';
import { IpRange } from '../common/policy/index.ts';
import type { ServerConfig } from './schema.ts';

/** What contradicts itself in `acme`. Undefined: nothing. */
export function acmeContradiction(config: ServerConfig): string | undefined {
  const { acme, names, http } = config;
  if (!acme.enabled) return undefined;
  if (!names.enabled)
    return 'acme.enabled needs names.enabled: ACME gives out certificates for names';
  if (http.publicBaseUrl === undefined)
    return 'acme.enabled needs http.publicBaseUrl: the URLs of ACME begin with it';
  if (!http.tls.enabled && !(http.plain.enabled && isLoopback(http.plain.address)))
    return (
      'acme.enabled needs http.tls.enabled, or http.plain with a loopback address behind a proxy ' +
      'of your own with TLS'
    );
  for (const name of ['allowedNetworks', 'deniedNetworks'] as const)
    for (const [index, network] of acme.validation[name].entries())
      if (!network.includes('/') || !IpRange.parse(network).ok)
        return `acme.validation.${name}.${index} (${network}) is no network such as 10.0.0.0/8`;
  return vantageContradiction(config);
}

/** Whether its quorum can be reached, and each place leads to agents. */
function vantageContradiction({ acme, trustDomain }: ServerConfig): string | undefined {
  const { perspectives, agreeing, disagreeing } = acme.validation.vantage;
  const key = 'acme.validation.vantage';
  for (const [index, { name, agentId, selectors }] of perspectives.entries()) {
    const at = `${key}.perspectives.${index} (${name})`;
    if (perspectives.findIndex((each) => each.name === name) !== index)
      return `${at} has the name of another one`;
    if ((agentId === undefined) === (selectors === undefined))
      return `${at} needs agentId or selectors, and not both`;
    const id = agentId === undefined ? undefined : SpiffeId.parse(agentId);
    if (id !== undefined && !(id.ok && id.value.trustDomain.name === trustDomain))
      return `${at}: agentId ${agentId} is no SPIFFE ID in the trust domain ${trustDomain}`;
    const wrong = selectors?.find((text) => !parseSelector(text).ok);
    if (wrong !== undefined) return `${at}: ${wrong} is no selector such as x509pop:subject:cn:a`;
  }
  const many = perspectives.length;
  if (many === 0) return undefined;
  if (disagreeing >= many)
    return `${key}.disagreeing (${disagreeing}) lets all ${many} perspectives disagree: take less`;
  return agreeing !== undefined && agreeing > many
    ? `${key}.agreeing (${agreeing}) is more than the ${many} perspectives that there are`
    : undefined;
}
