import type { ErrorCode } from '../../common/errors/index.ts';

/**
 * The types of problems that an ACME server reports, without their prefix
 * `urn:ietf:params:acme:error:`. RFC 8555 section 6.7, RFC 9773 section 7.4, and the draft on
 * profiles.
 */
export type AcmeProblemType = keyof typeof acmeProblems;

/** The usual HTTP status of each type. A problem may carry another one. */
const acmeProblems = {
  accountDoesNotExist: 400,
  alreadyReplaced: 409,
  alreadyRevoked: 400,
  badCSR: 400,
  badNonce: 400,
  badPublicKey: 400,
  badRevocationReason: 400,
  badSignatureAlgorithm: 400,
  caa: 403,
  compound: 400,
  connection: 400,
  dns: 400,
  externalAccountRequired: 403,
  incorrectResponse: 403,
  invalidContact: 400,
  invalidProfile: 400,
  malformed: 400,
  orderNotReady: 403,
  rateLimited: 429,
  rejectedIdentifier: 403,
  serverInternal: 500,
  tls: 400,
  unauthorized: 403,
  unsupportedContact: 400,
  unsupportedIdentifier: 400,
  userActionRequired: 403,
} as const;

export interface AcmeIdentifier {
  readonly type: 'dns' | 'ip';
  readonly value: string;
}

/** What was wrong, and what to do next. The detail never contains what a validated host answered. */
export interface AcmeProblem {
  readonly type: AcmeProblemType;
  readonly detail: string;
  readonly status: number;
  /** Seconds until the same request may succeed. */
  readonly retryAfterSeconds?: number;
  /** The resource that is there already. */
  readonly location?: string;
  /** The code of docs/errors.md, where there is one. */
  readonly code?: ErrorCode;
  /** With badSignatureAlgorithm: the algorithms that are accepted (RFC 8555 section 6.2). */
  readonly algorithms?: readonly string[];
  /** One for each identifier that is concerned (RFC 8555 section 6.7.1). */
  readonly subproblems?: readonly (Pick<AcmeProblem, 'type' | 'detail'> & {
    readonly identifier: AcmeIdentifier;
  })[];
}

/** What a parser of a client's input returns. */
export type AcmeResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: AcmeProblem };

export const accepted = <T>(value: T): { readonly ok: true; readonly value: T } => ({
  ok: true,
  value,
});

export const problem = (
  type: AcmeProblemType,
  detail: string,
  more: Partial<Omit<AcmeProblem, 'type' | 'detail'>> = {},
): { readonly ok: false; readonly problem: AcmeProblem } => ({
  ok: false,
  problem: { type, detail, status: acmeProblems[type], ...more },
});

/** Clients look for these words, and send the request again (certbot, acme.sh, dehydrated). */
export const badNonceText = 'JWS has an invalid anti-replay nonce';

/** A request that is refused. Parsers return problems, everything else throws this. */
export class AcmeRefusal extends Error {
  override readonly name = 'AcmeRefusal';
  readonly problem: AcmeProblem;

  constructor(refused: AcmeProblem, cause?: unknown) {
    super(refused.detail, cause === undefined ? undefined : { cause });
    this.problem = refused;
  }
}

/** @throws AcmeRefusal */
export function refuse(...reason: Parameters<typeof problem>): never {
  throw new AcmeRefusal(problem(...reason).problem);
}

/** @throws AcmeRefusal */
export function accept<T>(result: AcmeResult<T>): T {
  if (result.ok) return result.value;
  throw new AcmeRefusal(result.problem);
}

const prefix = 'urn:ietf:params:acme:error:';

/**
 * The body of an answer of type `application/problem+json` (RFC 9457). `detail` stands before every
 * nested object, and `status` is always there: some clients read no further.
 */
export const problemDocument = ({
  type,
  detail,
  status,
  code,
  algorithms,
  subproblems,
}: AcmeProblem): string =>
  JSON.stringify({
    type: prefix + type,
    detail,
    status,
    ...(code === undefined ? {} : { code }),
    ...(algorithms === undefined ? {} : { algorithms }),
    ...(subproblems === undefined
      ? {}
      : {
          subproblems: subproblems.map((each) => ({
            type: prefix + each.type,
            detail: each.detail,
            identifier: each.identifier,
          })),
        }),
  });
