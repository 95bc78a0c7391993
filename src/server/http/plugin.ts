import type { IncomingHttpHeaders } from 'node:http';
import type { ErrorCode } from '../../common/errors/index.ts';

/**
 * Where a plug-in may be reached.
 *
 * - `tls`: the listener with a certificate of ours.
 * - `loopback`: the plain listener where it is on loopback, so that nobody on a network reads or
 *   alters what passes; a proxy on this machine may stand in front.
 * - `plain`: the plain listener wherever it is. For documents that carry their own signature.
 */
export type ListenerKind = 'tls' | 'loopback' | 'plain';

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** One request, as a handler sees it. */
export interface HttpRequest {
  readonly method: HttpMethod;
  /** The path as it was sent, with its percent-encoding and double slashes, without the query. */
  readonly rawPath: string;
  /** Of a raw route: what follows its prefix in `rawPath`. Of others: empty. */
  readonly rawRest: string;
  /** The parameters of the route's path, percent-decoded. */
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The bytes as they were sent. Empty where the route takes no body. */
  readonly body: Buffer;
  /** The address of the client: of the peer, or what a trusted proxy says of its peer. */
  readonly client: string;
  /** Aborted when the client goes away or the time of the request is over. */
  readonly signal: AbortSignal;
  /** The address of a path under the public base URL. It never depends on what the client sent. */
  publicUrl(path: string): string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Why a request gets no ordinary answer, fit for outsiders. */
export interface HttpFailure {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly next: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface HttpRoute {
  /** A route for GET answers HEAD as well. */
  readonly method: HttpMethod;
  /** In find-my-way's form, such as `/crl/:name`. Of a raw route: a prefix that ends with `/`. */
  readonly path: string;
  /**
   * The handler reads the rest of the path itself, as it was sent. No other route may lie below the
   * prefix. Needed where a path holds base64, as in OCSP (RFC 6960, appendix A.1).
   */
  readonly raw?: true;
  /** Absent: a request with a body is refused (413). */
  readonly body?: {
    readonly maximumBytes: number;
    /** Media types that are taken; others are refused (415). Absent: any. */
    readonly types?: readonly string[];
  };
  /** What it throws is answered in the plug-in's error form. */
  readonly handle: (request: HttpRequest) => Promise<HttpAnswer> | HttpAnswer;
}

/**
 * A group of HTTP resources under one owner. The front matches routes, bounds sizes, times and
 * concurrency, and calls handlers; it keeps no state for a plug-in.
 */
export interface HttpPlugin {
  readonly name: string;
  readonly listeners: readonly ListenerKind[];
  readonly routes: readonly HttpRoute[];
  /** Prefixes whose errors (404, 405) have this plug-in's form, beside those of its routes. */
  readonly below?: readonly string[];
  readonly limits: {
    /** Requests at once; beyond: 503. */
    readonly concurrent: number;
    /** From the whole request to the handler's answer; beyond: 503. */
    readonly handlerSeconds: number;
  };
  /** Its handlers call `publicUrl`: without `http.publicBaseUrl` the server does not start. */
  readonly needsPublicBaseUrl?: true;
  /** How it says that a request failed, where no handler ran as well (404, 408, 413, 431 …). */
  readonly errorForm: (failure: HttpFailure) => HttpAnswer;
}
