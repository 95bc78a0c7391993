import { z } from 'zod';
import type { AnonymousCaller } from '../callers/caller.ts';
import type { AcmeOutcome } from './acme.ts';
import { jsonIn } from './encoding.ts';
import type { EabExchange, EabKeySecret, TokenExchangeAsk } from './operator-acme.ts';
import { accept, accepted, problem, type AcmeResult } from './problem.ts';
import { problemOf } from './refusals.ts';
import { instantText } from './views.ts';

/** A request of somebody who has a token and no certificate, as it came over HTTP. */
export interface TokenExchangeRequest {
  readonly contentType: string | undefined;
  readonly authorization: string | undefined;
  readonly body: Buffer;
  /** The address of the client. */
  readonly client: string;
  readonly signal: AbortSignal;
}

export interface TokenExchangeDependencies {
  readonly exchange: Pick<EabExchange, 'exchangeToken'>;
  /** Called with `ok`, or with the type of the problem. */
  readonly observe: (resource: string, result: string) => void;
}

/** Of a body. A token has at most 16 KiB, and may stand in it. */
export const maximumExchangeBytes = 32 * 1024;

/** Of names, and of addresses. */
const maximumListed = 200;
const text = z.string().min(1).max(2_048);
const texts = z.array(text).max(maximumListed);
const askSchema = z.strictObject({
  token: z.string().max(maximumExchangeBytes).optional(),
  names: texts.default([]),
  ips: texts.default([]),
  profile: text.optional(),
  spiffeId: text.optional(),
});
type Ask = z.output<typeof askSchema>;

/** The fields of a form. Those that may be repeated become lists. */
const formFields: Readonly<Record<string, keyof Ask>> = {
  token: 'token',
  name: 'names',
  ip: 'ips',
  profile: 'profile',
  spiffeId: 'spiffeId',
};

/** Exchanges a token for an EAB key over HTTP, for jobs that have `curl` alone. Never throws. */
export async function tokenExchange(
  request: TokenExchangeRequest,
  { exchange, observe }: TokenExchangeDependencies,
): Promise<AcmeOutcome> {
  try {
    const ask = accept(parseTokenExchange(request));
    // the front states no port
    const caller: AnonymousCaller = { class: 'anonymous', peer: `${request.client}:0` };
    const secret = await exchange.exchangeToken(caller, ask, request.signal);
    observe('exchange', 'ok');
    return { ok: true, answer: { status: 200, body: { json: view(secret) } } };
  } catch (thrown) {
    const refused = problemOf(thrown);
    observe('exchange', refused.type);
    return { ok: false, problem: refused };
  }
}

/** What an ACME client needs to make its account. */
const view = ({ key, macKey, directoryUrl }: EabKeySecret) => ({
  kid: key.id,
  hmacKey: macKey.toString('base64url'),
  expires: instantText(key.expiresAt),
  directory: directoryUrl,
  tenant: key.tenant,
});

/** The token as `Authorization: Bearer`, or in the body; the rest as a form or as JSON. */
export function parseTokenExchange({
  contentType,
  authorization,
  body,
}: Pick<
  TokenExchangeRequest,
  'contentType' | 'authorization' | 'body'
>): AcmeResult<TokenExchangeAsk> {
  const stated = statedIn(body, contentType);
  if (!stated.ok) return stated;
  const { token, names, ips, profile, spiffeId } = stated.value;
  const bearer =
    authorization === undefined ? undefined : /^bearer +(\S+)$/i.exec(authorization.trim())?.[1];
  if (authorization !== undefined && bearer === undefined)
    return problem('malformed', 'the header Authorization is not "Bearer" and a token');
  const [only, other] = [bearer, token].filter((each) => each !== undefined);
  if (only === undefined || other !== undefined)
    return problem('malformed', `the request has ${only === undefined ? 'no' : 'two'} tokens`, {
      status: only === undefined ? 401 : 400,
    });
  return accepted({
    ...{ token: only, dnsNames: names, ips },
    ...{ profile: profile ?? '', spiffeId: spiffeId ?? '' },
  });
}

function statedIn(body: Buffer, contentType = ''): AcmeResult<Ask> {
  const [type = ''] = contentType.split(';');
  const read = readers[type.trim().toLowerCase()];
  if (read === undefined)
    return problem(
      'malformed',
      `the media type of the body is one of ${Object.keys(readers).join(', ')}`,
      { status: 415 },
    );
  const parsed = askSchema.safeParse(read(body));
  if (parsed.success) return accepted(parsed.data);
  const [issue] = parsed.error.issues;
  return problem('malformed', `the body is not as it must be: ${issueText(issue)}`);
}

const issueText = (issue: z.core.$ZodIssue | undefined): string =>
  issue === undefined ? 'unknown' : `${issue.path.join('.') || 'body'}: ${issue.message}`;

const readers: Readonly<Record<string, (body: Buffer) => unknown>> = {
  'application/x-www-form-urlencoded': formOf,
  'application/json': (body) => jsonIn(body)?.value,
};

/**
 * Reads up to the first field that the schema refuses: one that is unknown, repeated where it may
 * not be, or beyond the maximum of its list.
 */
export function formOf(body: Buffer): Readonly<Record<string, unknown>> {
  const lists: Readonly<Record<'names' | 'ips', string[]>> = { names: [], ips: [] };
  const ask: Record<string, unknown> = { ...lists };
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) {
    const field = Object.hasOwn(formFields, name) ? formFields[name] : undefined;
    if (field === undefined) return { ...ask, [`the field ${name}`]: value };
    if (field === 'names' || field === 'ips') {
      lists[field].push(value);
      if (lists[field].length > maximumListed) return ask;
    } else if (field in ask) return { ...ask, [field]: [ask[field], value] };
    else ask[field] = value;
  }
  return ask;
}
