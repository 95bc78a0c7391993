import createRouter from 'find-my-way';
import type { HttpMethod, HttpPlugin, HttpRoute } from './plugin.ts';

export interface Match {
  readonly plugin: HttpPlugin;
  readonly route: HttpRoute;
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly rawRest: string;
}

export type Finding =
  | { readonly kind: 'match'; readonly match: Match }
  | { readonly kind: 'method'; readonly plugin: HttpPlugin; readonly allowed: readonly string[] }
  | { readonly kind: 'none'; readonly plugin: HttpPlugin | undefined };

interface Target {
  readonly plugin: HttpPlugin;
  readonly route: HttpRoute;
}

const methods: readonly HttpMethod[] = ['GET', 'POST', 'PUT', 'DELETE'];

/**
 * The routes of the plug-ins on one listener. Raw prefixes are matched first, on the bytes of the
 * path. find-my-way matches all others, and decodes them.
 *
 * @throws TypeError if two plug-ins claim the same path
 */
export class Routes {
  readonly plugins: readonly HttpPlugin[];
  readonly #router = createRouter({ maxParamLength: 256 });
  readonly #raw: { readonly prefix: string; readonly targets: readonly Target[] }[] = [];
  readonly #below: { readonly prefix: string; readonly plugin: HttpPlugin }[] = [];

  constructor(plugins: readonly HttpPlugin[]) {
    this.plugins = plugins;
    const targets = plugins.flatMap((plugin) => plugin.routes.map((route) => ({ plugin, route })));
    for (const target of targets) if (target.route.raw === true) this.#addRaw(target);
    for (const target of targets) if (target.route.raw !== true) this.#addDecoded(target);
    for (const plugin of plugins)
      for (const prefix of plugin.below ?? []) this.#below.push({ prefix, plugin });
  }

  /** What can be read, for the answer to an unknown path: without the patterns of parameters. */
  offered(): readonly string[] {
    const read = this.plugins.flatMap(({ routes }) =>
      routes.filter(({ method }) => method === 'GET').map(({ path }) => path),
    );
    return [...new Set(read.map((path) => path.replaceAll(/\([^)]*\)/g, '')))];
  }

  find(method: string, rawPath: string): Finding {
    const raw = this.#raw.find(({ prefix }) => rawPath.startsWith(prefix));
    const at = (method: HttpMethod): Match | undefined =>
      raw === undefined
        ? this.#findDecoded(method, rawPath)
        : matchRaw(raw.targets, method, rawPath.slice(raw.prefix.length));
    const wanted = method === 'HEAD' ? 'GET' : method;
    const match = methods.includes(wanted as HttpMethod) ? at(wanted as HttpMethod) : undefined;
    if (match !== undefined) return { kind: 'match', match };
    const otherMethods = methods.flatMap((other) => at(other) ?? []);
    const [first] = otherMethods;
    if (first !== undefined) {
      const allowed = otherMethods.map(({ route }) => route.method);
      return {
        kind: 'method',
        plugin: first.plugin,
        allowed: allowed.flatMap((one) => (one === 'GET' ? ['GET', 'HEAD'] : [one])),
      };
    }
    return {
      kind: 'none',
      plugin: this.#below.find(({ prefix }) => rawPath.startsWith(prefix))?.plugin,
    };
  }

  #addRaw({ plugin, route }: Target): void {
    if (!route.path.startsWith('/') || !route.path.endsWith('/'))
      throw new TypeError(`${plugin.name}: the raw prefix ${route.path} has no / at both ends`);
    const same = this.#raw.find(({ prefix }) => prefix === route.path);
    if (same === undefined) this.#raw.push({ prefix: route.path, targets: [{ plugin, route }] });
    else if (same.targets.some((other) => other.route.method === route.method))
      throw new TypeError(`${plugin.name}: ${route.method} ${route.path} is taken`);
    else
      this.#raw.splice(this.#raw.indexOf(same), 1, {
        ...same,
        targets: [...same.targets, { plugin, route }],
      });
    this.#raw.sort((a, b) => b.prefix.length - a.prefix.length);
  }

  #addDecoded({ plugin, route }: Target): void {
    const over = this.#raw.find(({ prefix }) => route.path.startsWith(prefix));
    if (over !== undefined)
      throw new TypeError(`${plugin.name}: ${route.path} lies below the raw ${over.prefix}`);
    // find-my-way throws if the same method and path already exist
    this.#router.on(route.method, route.path, () => undefined, { plugin, route });
  }

  #findDecoded(method: HttpMethod, rawPath: string): Match | undefined {
    const result = this.#router.find(method, rawPath);
    if (result === null) return undefined;
    const { plugin, route } = result.store as Target;
    return { plugin, route, parameters: result.params, rawRest: '' };
  }
}

function matchRaw(
  targets: readonly Target[],
  method: HttpMethod,
  rawRest: string,
): Match | undefined {
  const target = targets.find(({ route }) => route.method === method);
  return target === undefined ? undefined : { ...target, parameters: {}, rawRest };
}
