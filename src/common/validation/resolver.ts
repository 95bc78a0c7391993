import { promises as dns, type CaaRecord } from 'node:dns';
import type { CaaProperty } from './caa.ts';
import { forbiddenHere, invalid, type Judged } from './outcome.ts';

export interface ResolverOptions {
  /**
   * Recursive servers, as addresses with an optional port. Never those of the system: whoever sets
   * up this machine's network must not decide what is validated.
   */
  readonly servers: readonly string[];
  /** For one query at one server. */
  readonly timeoutMs: number;
  /** Queries at each server, before the lookup fails. */
  readonly tries: number;
  /**
   * The address of an authoritative server → how it is asked. Undefined: it may not be asked.
   * Default: port 53 of the address.
   */
  readonly authoritative?: (address: string) => string | undefined;
  /** Whether it is the configuration that forbids to ask it. Default: never. */
  readonly isForbidden?: (address: string) => boolean;
}

type Lookup<T> = (resolver: dns.Resolver) => Promise<T>;

/** Asks DNS for validations. A name that does not exist has no records; all else fails. */
export class AcmeResolver {
  readonly #options: ResolverOptions;

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  /** IPv6 addresses first. Fails if either family can not be asked. */
  async addressesOf(name: string, signal: AbortSignal): Promise<Judged<readonly string[]>> {
    const { servers } = this.#options;
    const [ipv6, ipv4] = await Promise.all([
      this.#ask({ name, servers, signal }, (resolver) => resolver.resolve6(name)),
      this.#ask({ name, servers, signal }, (resolver) => resolver.resolve4(name)),
    ]);
    if (!ipv6.ok) return ipv6;
    return ipv4.ok ? { ok: true, value: [...ipv6.value, ...ipv4.value] } : ipv4;
  }

  /** The CAA properties at exactly this name. */
  async propertiesAt(name: string, signal: AbortSignal): Promise<Judged<readonly CaaProperty[]>> {
    const { servers } = this.#options;
    const records = await this.#ask({ name, servers, signal }, (resolver) =>
      resolver.resolveCaa(name),
    );
    return records.ok ? { ok: true, value: records.value.flatMap(propertiesOf) } : records;
  }

  /**
   * The TXT records at a name as every authoritative server of its zone has them, the strings of
   * each record joined. An alias (CNAME) is followed to the zone of its target. A zone without name
   * servers is one that the configured servers alone know: each of them is asked.
   */
  async textsAtEveryServer(
    name: string,
    signal: AbortSignal,
  ): Promise<Judged<readonly ServerTexts[]>> {
    const target = await this.#aliasOf(name, signal);
    if (!target.ok) return target;
    const servers = await this.#authoritativeFor(target.value, signal);
    if (!servers.ok) return servers;
    const answers: ServerTexts[] = [];
    for (const { name: server, endpoint } of servers.value) {
      const ask = { name: target.value, servers: [endpoint], signal, at: server };
      const texts = await this.#ask(ask, (resolver) => resolver.resolveTxt(target.value));
      if (!texts.ok) return texts;
      answers.push({ server, texts: texts.value.map((strings) => strings.join('')) });
    }
    return { ok: true, value: answers };
  }

  /** The end of a chain of aliases; the name itself without any. */
  async #aliasOf(name: string, signal: AbortSignal): Promise<Judged<string>> {
    const { servers } = this.#options;
    let at = name;
    for (let steps = 0; steps <= maximumAliases; steps += 1) {
      const asked = at;
      const alias = await this.#ask({ name: asked, servers, signal }, (resolver) =>
        resolver.resolveCname(asked),
      );
      if (!alias.ok) return alias;
      const [next] = alias.value;
      if (next === undefined) return { ok: true, value: at };
      at = next.toLowerCase();
    }
    return invalid('dns', `${name} is an alias over more than ${maximumAliases} names`);
  }

  async #authoritativeFor(
    name: string,
    signal: AbortSignal,
  ): Promise<Judged<readonly { readonly name: string; readonly endpoint: string }[]>> {
    const { servers, authoritative = (address: string) => address } = this.#options;
    const labels = name.split('.');
    for (let from = 0; from < labels.length; from += 1) {
      const zone = labels.slice(from).join('.');
      const found = await this.#ask({ name: zone, servers, signal }, (resolver) =>
        resolver.resolveNs(zone),
      );
      if (!found.ok) return found;
      if (found.value.length === 0) continue;
      const endpoints: { readonly name: string; readonly endpoint: string }[] = [];
      for (const server of found.value.slice(0, maximumServers)) {
        const addresses = await this.addressesOf(server, signal);
        const endpoint = addresses.ok
          ? addresses.value.map(authoritative).find((each) => each !== undefined)
          : undefined;
        if (endpoint === undefined) {
          const detail = `the name server ${server} of ${zone} has no address to ask`;
          const isForbidden =
            addresses.ok &&
            addresses.value.length > 0 &&
            addresses.value.every((each) => this.#options.isForbidden?.(each) === true);
          return isForbidden ? forbiddenHere('dns', detail) : invalid('dns', detail);
        }
        endpoints.push({ name: server, endpoint });
      }
      return { ok: true, value: endpoints };
    }
    return { ok: true, value: servers.map((server) => ({ name: server, endpoint: server })) };
  }

  /** A name or a type of record that does not exist is an empty list. */
  async #ask<T>(
    {
      name,
      servers,
      signal,
      at,
    }: {
      readonly name: string;
      readonly servers: readonly string[];
      readonly signal: AbortSignal;
      readonly at?: string;
    },
    lookup: Lookup<T[]>,
  ): Promise<Judged<T[]>> {
    if (signal.aborted) return invalid('dns', `${name} was not looked up in time`);
    const { timeoutMs, tries } = this.#options;
    const resolver = new dns.Resolver({ timeout: timeoutMs, tries });
    resolver.setServers(servers);
    const stop = (): void => resolver.cancel();
    signal.addEventListener('abort', stop, { once: true });
    try {
      return { ok: true, value: await lookup(resolver) };
    } catch (thrown) {
      const { code = 'UNKNOWN' } = thrown as NodeJS.ErrnoException;
      if (code === 'ENOTFOUND' || code === 'ENODATA') return { ok: true, value: [] };
      const where = at === undefined ? '' : ` at ${at}`;
      return invalid(
        'dns',
        `looking up ${name}${where} failed: ${reasons[code] ?? code.replace(/^E/, '')}`,
      );
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}

/** What one authoritative server says. */
export interface ServerTexts {
  readonly server: string;
  readonly texts: readonly string[];
}

const maximumAliases = 8;
const maximumServers = 16;

const reasons: Readonly<Record<string, string>> = {
  ESERVFAIL: 'SERVFAIL',
  EREFUSED: 'REFUSED',
  ETIMEOUT: 'no answer in time',
  ECANCELLED: 'the time of the validation is over',
  ECONNREFUSED: 'nothing listens there',
};

/** Node names the property by its tag, beside `critical`. */
function propertiesOf({ critical, ...tagged }: CaaRecord): readonly CaaProperty[] {
  return Object.entries(tagged as Readonly<Record<string, unknown>>).flatMap(([tag, value]) =>
    typeof value === 'string' && tag !== 'type'
      ? [{ critical: critical >= 128, tag: tag.toLowerCase(), value }]
      : [],
  );
}
