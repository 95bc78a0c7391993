/** A link in the head of an answer (RFC 8288). */
export interface AcmeLink {
  readonly url: string;
  readonly rel: 'up' | 'next' | 'alternate' | 'help' | 'terms-of-service';
}

/** What a client gets, free of HTTP. Nonce and index link are added to every answer. */
export interface AcmeAnswer {
  readonly status: 200 | 201;
  /** The resource that was made, or that this answer is about. */
  readonly location?: string;
  readonly links?: readonly AcmeLink[];
  readonly retryAfterSeconds?: number;
  readonly body:
    | { readonly json: Readonly<Record<string, unknown>> }
    | { readonly chainPem: string }
    | undefined;
}
