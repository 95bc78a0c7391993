import { getServers } from 'node:dns';
import { isIPv6 } from 'node:net';
import type { Clock } from '../runtime/index.ts';
import { AddressPolicy, isByConfiguration } from './address-policy.ts';
import { checkCaa, type CaaAsk } from './caa.ts';
import { Dialer } from './dialer.ts';
import { validateDns01 } from './dns-01.ts';
import { validateDnsAccount01 } from './dns-account-01.ts';
import { validateDnsPersist01 } from './dns-persist-01.ts';
import { validateHttp01 } from './http-01.ts';
import {
  forbiddenHere,
  invalid,
  type Evidence,
  type Judged,
  type ValidationFailure,
} from './outcome.ts';
import { isOwnListener, type OwnListener } from './own-listeners.ts';
import { AcmeResolver } from './resolver.ts';
import { validateTlsAlpn01 } from './tls-alpn-01.ts';
import type { ChallengeValidator, ValidationAsk } from './validator.ts';

/** `acme.validation` and `acme.caaIdentities` of the configuration. */
export interface ValidatorSettings {
  /** In CIDR notation. Empty: nothing is dialled. */
  readonly allowedNetworks: readonly string[];
  readonly deniedNetworks: readonly string[];
  /**
   * Recursive DNS servers: addresses with an optional port. `system` stands for those of this
   * machine (resolv.conf), which are never asked otherwise: whoever sets up its network (DHCP) must
   * not decide what is validated. Empty: no DNS name is validated.
   */
  readonly resolvers: readonly string[];
  /** 80: another port only where tests can have no other. */
  readonly httpPort: number;
  /** 443, likewise. */
  readonly httpsPort: number;
  /** For a validation with all its attempts. */
  readonly timeoutSeconds: number;
  readonly caaIdentities: readonly string[];
}

export interface ValidatorDependencies {
  readonly settings: ValidatorSettings;
  /** Every listener of this server, whichever protocol it speaks. */
  readonly listeners: () => readonly OwnListener[];
  readonly clock: Clock;
}

const connectTimeoutMs = 5_000;
const queryTimeoutMs = 2_000;
const queryTries = 2;
/** Between attempts: a server that is just reloaded, or a record that is just distributed. */
const pausesMs: readonly number[] = [1_000, 3_000];
/** A decision of ours or of the owner of the name: a second attempt changes nothing. */
const final: ReadonlySet<ValidationFailure['type']> = new Set(['caa', 'rejectedIdentifier']);

/**
 * Validates the five types of challenges. CAA is judged before anything is dialled, so that nothing
 * is asked of a host whose owner forbids this CA to issue (RFC 8659; not for IP addresses).
 *
 * Names are resolved here, addresses are dialled here: neither the resolver of the system nor any
 * proxy variable of the environment has a part in it.
 */
export function createValidator({
  settings,
  listeners,
  clock,
}: ValidatorDependencies): ChallengeValidator {
  const policy = new AddressPolicy({
    allowed: settings.allowedNetworks,
    denied: settings.deniedNetworks,
    isOwn: isOwnListener(listeners),
  });
  const servers = settings.resolvers.flatMap((each) => (each === 'system' ? getServers() : [each]));
  const resolver = new AcmeResolver({
    servers,
    timeoutMs: queryTimeoutMs,
    tries: queryTries,
    authoritative: authoritativeAmong(servers, policy),
    isForbidden: (address) => isByConfiguration(policy.refusal(address, 53)),
  });
  const dialer = new Dialer({
    addressesOf: (name, signal) => resolver.addressesOf(name, signal),
    policy,
    connectTimeoutMs,
  });
  const parts = { settings, resolver, dialer, clock };
  const inTime = async (
    isName: boolean,
    signal: AbortSignal,
    attempt: (until: AbortSignal) => Promise<Judged<Evidence>>,
  ): Promise<Judged<Evidence>> => {
    if (isName && servers.length === 0)
      return forbiddenHere('dns', 'this CA asks no DNS server: see acme.validation.resolvers');
    const over = new AbortController();
    const stop = clock.after(settings.timeoutSeconds * 1000, () => over.abort());
    const until = AbortSignal.any([signal, over.signal]);
    try {
      return await repeatedly(() => attempt(until), clock, until);
    } finally {
      stop();
    }
  };
  return {
    validate: (ask, signal) =>
      inTime(ask.identifier.type === 'dns', signal, (until) => attemptOf(ask, parts, until)),
    caa: (ask, signal) => inTime(true, signal, (until) => caaOf(ask, parts, until)),
  };
}

interface Parts {
  readonly settings: ValidatorSettings;
  readonly resolver: AcmeResolver;
  readonly dialer: Pick<Dialer, 'dial'>;
  readonly clock: Clock;
}

async function caaOf(
  ask: CaaAsk,
  { settings, resolver }: Parts,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const allowed = await checkCaa(
    ask,
    {
      propertiesAt: (name, until) => resolver.propertiesAt(name, until),
      identities: settings.caaIdentities,
    },
    signal,
  );
  return allowed.ok ? { ok: true, value: { seenAt: [] } } : allowed;
}

async function attemptOf(
  ask: ValidationAsk,
  parts: Parts,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const { identifier, wildcard, accountUri, type: method } = ask;
  if (identifier.type === 'dns') {
    const allowed = await caaOf(
      { name: identifier.value, wildcard, accountUri, method },
      parts,
      signal,
    );
    if (!allowed.ok) return allowed;
  }
  const seenAt: string[] = [];
  const dialer = noting(parts.dialer, seenAt);
  const judged = await challenge(ask, { ...parts, dialer }, signal);
  if (judged.ok || seenAt.length === 0) return judged;
  return { ok: false, failure: { ...judged.failure, seenAt } };
}

/** Notes what is dialled, for a validation that fails later. */
const noting = (dialer: Pick<Dialer, 'dial'>, seenAt: string[]): Pick<Dialer, 'dial'> => ({
  async dial(host, port, signal) {
    const dialled = await dialer.dial(host, port, signal);
    seenAt.push(
      ...(dialled.ok ? [`${dialled.value.address} port ${port}`] : dialled.failure.seenAt),
    );
    return dialled;
  },
});

function challenge(
  { type, identifier, wildcard, token, keyAuthorization, accountUri }: ValidationAsk,
  { settings, resolver, dialer, clock }: Parts,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const { httpPort, httpsPort, caaIdentities: identities } = settings;
  const { value: name } = identifier;
  const atAddress = type === 'http-01' || type === 'tls-alpn-01';
  if (atAddress ? wildcard : identifier.type === 'ip')
    return Promise.resolve(invalid('rejectedIdentifier', `${type} can not show control of this`));
  switch (type) {
    case 'http-01':
      return validateHttp01(
        { host: name, token, keyAuthorization },
        { dialer, ports: { http: httpPort, https: httpsPort } },
        signal,
      );
    case 'tls-alpn-01':
      return validateTlsAlpn01(
        { host: name, keyAuthorization },
        { dialer, port: httpsPort },
        signal,
      );
    case 'dns-01':
      return validateDns01({ name, keyAuthorization }, { resolver }, signal);
    case 'dns-account-01':
      return validateDnsAccount01({ name, keyAuthorization, accountUri }, { resolver }, signal);
    case 'dns-persist-01':
      return validateDnsPersist01(
        { name, wildcard, accountUri },
        { resolver, identities, now: () => clock.now() },
        signal,
      );
  }
}

/** The last failure counts, also where the time ends between two attempts. */
async function repeatedly(
  once: () => Promise<Judged<Evidence>>,
  clock: Clock,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  let judged = await once();
  for (const pauseMs of pausesMs) {
    if (judged.ok || final.has(judged.failure.type) || signal.aborted) return judged;
    const waited = await clock.sleep(pauseMs, { signal }).then(
      () => true,
      () => false,
    );
    if (!waited) return judged;
    judged = await once();
  }
  return judged;
}

/**
 * An authoritative server is asked at port 53 where validations may dial. One that is also a
 * configured resolver is asked as configured.
 */
function authoritativeAmong(
  servers: readonly string[],
  policy: AddressPolicy,
): (address: string) => string | undefined {
  const configured = new Map(servers.map((server) => [hostOf(server), server]));
  return (address) =>
    configured.get(address) ?? (policy.refusal(address, 53) === undefined ? address : undefined);
}

const hostOf = (server: string): string =>
  isIPv6(server) ? server : server.replace(/^\[([^\]]+)\](:\d+)?$|:\d+$/, '$1');
