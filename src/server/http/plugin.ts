import type { IncomingHttpHeaders } from 'node:http';
import type { ErrorCode } from '../../common/errors/index.ts';

/**
 * The listeners on which a plug-in may be reached.
 *
 * - `tls`: the listener with a certificate of ours.
 * - `loopback`: the plain listener if it is on loopback, so that nobody on a network can read or
 *   alter the traffic. A proxy on this machine may be in front.
 * - `plain`: the plain listener on any address. For documents with their own signature.
 * - `federation`: the bundle endpoints for foreign trust domains, which are open to anybody.
 */
export type ListenerKind = 'tls' | 'loopback' | 'plain' | 'federation';

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** One request, as a handler gets it. */
export interface HttpRequest {
  /** That of the route. */
  readonly method: HttpMethod;
  /** The request is HEAD: the answer is sent without its body. */
  readonly isHead: boolean;
  /** The path as it was sent, with its percent-encoding and double slashes, without the query. */
  readonly rawPath: string;
  /** For a raw route: the part of `rawPath` after its prefix. For others: empty. */
  readonly rawRest: string;
  /** The parameters of the route's path, percent-decoded. */
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The bytes as they were sent. Empty if the route takes no body. */
  readonly body: Buffer;
  /** The address of the client: the peer's, or the one that a trusted proxy states. */
  readonly client: string;
  /** Aborted when the client goes away, or the time of the request is over. */
  readonly signal: AbortSignal;
  /** The URL of a path below the public base URL. It never depends on what the client sent. */
  publicUrl(path: string): string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers?: HttpHeaders;
  readonly body?: string | Buffer;
}

/** A list is sent as several fields of one name. */
export type HttpHeaders = Readonly<Record<string, string | readonly string[]>>;

/** Why a request gets no normal answer, in a form for outsiders. */
export interface HttpFailure {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly next: string;
  readonly headers?: HttpHeaders;
}

export interface HttpRoute {
  /** A route for GET also answers HEAD. */
  readonly method: HttpMethod;
  /** In find-my-way's form, such as `/crl/:name`. For a raw route: a prefix that ends with `/`. */
  readonly path: string;
  /**
   * The handler reads the rest of the path itself, as it was sent. No other route may be below the
   * prefix. Needed if a path contains base64, as in OCSP (RFC 6960, appendix A.1).
   */
  readonly raw?: true;
  /** Absent: a request with a body is refused (413). */
  readonly body?: {
    readonly maximumBytes: number;
    /** Accepted media types; others are refused (415). Absent: any. */
    readonly types?: readonly string[];
  };
  /** If it throws, the answer has the plug-in's error form. */
  readonly handle: (request: HttpRequest) => Promise<HttpAnswer> | HttpAnswer;
}

/**
 * A group of HTTP resources with one owner. The front matches routes, bounds sizes, times and
 * concurrency, and calls handlers. It keeps no state for a plug-in.
 */
export interface HttpPlugin {
  readonly name: string;
  readonly listeners: readonly ListenerKind[];
  readonly routes: readonly HttpRoute[];
  /** Prefixes whose errors (404, 405) have this plug-in's form, in addition to its routes. */
  readonly below?: readonly string[];
  readonly limits: {
    /** Maximum number of concurrent requests; beyond: 503. */
    readonly concurrent: number;
    /** Seconds from the whole request to the handler's answer; beyond: 503. */
    readonly handlerSeconds: number;
  };
  /** Its handlers call `publicUrl`: without `http.publicBaseUrl` the server does not start. */
  readonly needsPublicBaseUrl?: true;
  /** Its form of an error, also if no handler ran (404, 408, 413, 431 …). */
  readonly errorForm: (failure: HttpFailure) => HttpAnswer;
}
