import type { IpRange } from '../../common/policy/index.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import { readBody } from './body.ts';
import { clientAddress } from './client-address.ts';
import { failure, failureOf, jsonErrorForm } from './failure.ts';
import type { HttpAnswer, HttpFailure, HttpPlugin, HttpRequest } from './plugin.ts';
import type { Finding, Match, Routes } from './routes.ts';

export interface ExchangeDependencies {
  readonly routes: Routes;
  readonly proxies: readonly IpRange[];
  readonly publicBaseUrl: string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called with the plug-in of a request, as soon as it is known. */
  readonly claimed: (request: IncomingMessage, plugin: HttpPlugin) => void;
  /** Called when the whole request has arrived. */
  readonly received: (request: IncomingMessage) => void;
}

/** Which plug-in answered, for the metrics. There is no answer if the client went away. */
export interface Outcome {
  readonly plugin: string;
  readonly answer: HttpAnswer | undefined;
}

interface Target {
  readonly rawPath: string;
  readonly rawQuery: string;
}

/**
 * Handles a request from its head to its answer: finds the route, reads the body, calls the handler
 * within the limits of its plug-in. Owner of the count of requests under way, by plug-in.
 */
export class Exchange {
  readonly #dependencies: ExchangeDependencies;
  readonly #underWay = new Map<HttpPlugin, number>();

  constructor(dependencies: ExchangeDependencies) {
    this.#dependencies = dependencies;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<Outcome> {
    const target = targetOf(request.url ?? '/');
    const finding = this.#dependencies.routes.find(request.method ?? '', target.rawPath);
    const plugin = finding.kind === 'match' ? finding.match.plugin : finding.plugin;
    const name = plugin?.name ?? 'none';
    const form = plugin?.errorForm ?? jsonErrorForm;
    if (plugin !== undefined) this.#dependencies.claimed(request, plugin);
    const refused = this.#refusalOf(request, finding, target);
    if (refused !== undefined) return { plugin: name, answer: form(refused) };
    const { match } = finding as { readonly match: Match };
    const body = await readBody(request, match.route.body);
    if (body.kind === 'aborted') return { plugin: name, answer: undefined };
    if (body.kind === 'refused') return { plugin: name, answer: form(body.failure) };
    this.#dependencies.received(request);
    const httpRequest = this.#seen(match, request, target, body.bytes);
    return { plugin: name, answer: await this.#handle(match, httpRequest, response) };
  }

  #refusalOf(
    { httpVersion, headers }: IncomingMessage,
    finding: Finding,
    { rawPath }: Target,
  ): HttpFailure | undefined {
    if (httpVersion === '1.1' && headers.host === undefined)
      return failure(400, 'INVALID_REQUEST', 'the request has no Host header');
    if (finding.kind === 'method') {
      const allow = finding.allowed.join(', ');
      return failure(405, 'INVALID_REQUEST', `this resource supports only ${allow}`, {
        headers: { allow },
      });
    }
    if (finding.kind === 'none')
      return failure(404, 'NOT_FOUND', `there is no resource ${rawPath.slice(0, 100)}`, {
        next: `Offered: ${this.#dependencies.routes.offered().join(', ')}`,
      });
    return undefined;
  }

  #seen(
    { route, parameters, rawRest }: Match,
    { method, headers, socket }: IncomingMessage,
    { rawPath, rawQuery }: Target,
    body: Buffer,
  ): Omit<HttpRequest, 'signal'> {
    const { proxies } = this.#dependencies;
    return {
      method: route.method,
      isHead: method === 'HEAD',
      rawPath,
      rawRest,
      parameters,
      query: new URLSearchParams(rawQuery),
      headers,
      body,
      client: clientAddress(socket.remoteAddress ?? '', headers['x-forwarded-for'], proxies),
      publicUrl: (path) => this.#publicUrl(path),
    };
  }

  async #handle(
    { plugin, route }: Match,
    httpRequest: Omit<HttpRequest, 'signal'>,
    response: ServerResponse,
  ): Promise<HttpAnswer> {
    const underWay = this.#underWay.get(plugin) ?? 0;
    if (underWay >= plugin.limits.concurrent)
      return plugin.errorForm(
        failure(503, 'OVERLOADED', `${plugin.name} already handles ${underWay} requests`, {
          headers: { 'retry-after': '1' },
        }),
      );
    this.#underWay.set(plugin, underWay + 1);
    const { clock } = this.#dependencies;
    const ending = new AbortController();
    const gone = (): void => ending.abort(new PkiError('CANCELLED', 'the client went away'));
    response.once('close', gone);
    const { promise: late, resolve } = Promise.withResolvers<HttpAnswer>();
    const cancel = clock.after(plugin.limits.handlerSeconds * 1000, () => {
      const text = `${plugin.name} took longer than ${plugin.limits.handlerSeconds} s`;
      ending.abort(new PkiError('DEADLINE_EXCEEDED', text));
      resolve(plugin.errorForm(failure(503, 'DEADLINE_EXCEEDED', text)));
    });
    const handled = Promise.resolve()
      .then(() => route.handle({ ...httpRequest, signal: ending.signal }))
      .catch((thrown: unknown) => this.#failed(plugin, httpRequest.rawPath, thrown))
      .finally(() => this.#underWay.set(plugin, (this.#underWay.get(plugin) ?? 1) - 1));
    try {
      return await Promise.race([handled, late]);
    } finally {
      cancel();
      response.off('close', gone);
    }
  }

  #failed(plugin: HttpPlugin, rawPath: string, thrown: unknown): HttpAnswer {
    const shown = failureOf(thrown);
    if (shown.code === 'INTERNAL')
      this.#dependencies.logger.error(
        { ...errorFields(thrown), plugin: plugin.name, path: rawPath.slice(0, 200) },
        'HTTP request failed',
      );
    return plugin.errorForm(shown);
  }

  #publicUrl(path: string): string {
    const { publicBaseUrl } = this.#dependencies;
    if (publicBaseUrl === undefined)
      throw new PkiError('CONFIG_INVALID', 'http.publicBaseUrl is not set');
    return `${publicBaseUrl.replace(/\/+$/, '')}${path}`;
  }
}

/** Origin form, or absolute form (RFC 9112, section 3.2.2), whose authority is ignored. */
function targetOf(url: string): Target {
  const path = url.replace(/^https?:\/\/[^/?]*/i, '');
  const query = path.indexOf('?');
  return query === -1
    ? { rawPath: path, rawQuery: '' }
    : { rawPath: path.slice(0, query), rawQuery: path.slice(query + 1) };
}
