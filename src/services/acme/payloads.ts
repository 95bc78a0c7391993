import { z } from 'zod';
import { parseDnsName } from '../../common/spiffe/index.ts';
import { canonicalIp } from '../../common/x509/index.ts';
import { maximumNames } from '../../domain/certificate.ts';
import type { OrderIdentifier } from '../../domain/acme/index.ts';
import { base64urlBytes, jsonIn } from './encoding.ts';
import { accepted, problem, type AcmeIdentifier, type AcmeResult } from './problem.ts';

const base64urlText = z.string().regex(/^[A-Za-z0-9_-]+$/, 'base64url without padding');
const instant = z.iso.datetime({ offset: true });

/** RFC 8555 section 7.3. Fields that are not known are ignored, as section 7.3 asks. */
const newAccountSchema = z.object({
  contact: z.array(z.string().max(320)).max(10).optional(),
  termsOfServiceAgreed: z.boolean().optional(),
  onlyReturnExisting: z.boolean().optional(),
  externalAccountBinding: z.looseObject({}).optional(),
});
export type NewAccountPayload = z.infer<typeof newAccountSchema>;

/** RFC 8555 section 7.3.2 and 7.3.6. */
const updateAccountSchema = z.object({
  contact: z.array(z.string().max(320)).max(10).optional(),
  status: z.literal('deactivated').optional(),
});
export type UpdateAccountPayload = z.infer<typeof updateAccountSchema>;

/** RFC 8555 section 7.4, RFC 9773 section 5, and the draft on profiles. */
const newOrderSchema = z.object({
  identifiers: z
    .array(z.object({ type: z.string().max(64), value: z.string().max(512) }))
    .min(1)
    .max(2 * maximumNames),
  notBefore: instant.optional(),
  notAfter: instant.optional(),
  profile: z.string().min(1).max(64).optional(),
  replaces: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/, 'the identifier of a certificate (RFC 9773)')
    .optional(),
});

const finalizeSchema = z.object({ csr: base64urlText });
/** RFC 8555 section 7.6; the reasons of RFC 5280 section 5.3.1. */
const revokeSchema = z.object({
  certificate: base64urlText,
  reason: z.number().int().min(0).max(10).optional(),
});
/** RFC 8555 section 7.3.5. */
const keyChangeSchema = z.object({ account: z.string().max(2048), oldKey: z.looseObject({}) });
/** RFC 8555 section 7.5.2. */
const deactivateSchema = z.object({ status: z.literal('deactivated') });

export const parseNewAccount = (payload: Buffer): AcmeResult<NewAccountPayload> =>
  parsed(newAccountSchema, payload);
export const parseUpdateAccount = (payload: Buffer): AcmeResult<UpdateAccountPayload> =>
  parsed(updateAccountSchema, payload);
export const parseDeactivation = (payload: Buffer): AcmeResult<unknown> =>
  parsed(deactivateSchema, payload);
export const parseKeyChange = (
  payload: Buffer,
): AcmeResult<{ readonly account: string; readonly oldKey: object }> =>
  parsed(keyChangeSchema, payload);

/** The CSR in DER. */
export function parseFinalize(payload: Buffer): AcmeResult<Buffer> {
  const value = parsed(finalizeSchema, payload);
  if (!value.ok) return value;
  const csrDer = base64urlBytes(value.value.csr);
  return csrDer === undefined ? malformed('"csr" is not base64url') : accepted(csrDer);
}

export interface RevocationPayload {
  readonly certificateDer: Buffer;
  /** A code of RFC 5280 section 5.3.1; absent: unspecified. */
  readonly reason: number;
}

export function parseRevocation(payload: Buffer): AcmeResult<RevocationPayload> {
  const value = parsed(revokeSchema, payload);
  if (!value.ok) return value;
  const certificateDer = base64urlBytes(value.value.certificate);
  return certificateDer === undefined
    ? malformed('"certificate" is not base64url')
    : accepted({ certificateDer, reason: value.value.reason ?? 0 });
}

export interface OrderPayload {
  /** In the order of the request, each once. */
  readonly identifiers: readonly OrderIdentifier[];
  /** Undefined: the server chooses. */
  readonly profile: string | undefined;
  /** `base64url(AKI).base64url(serial)`. */
  readonly replaces: string | undefined;
}

/**
 * An order. `notBefore` and `notAfter` are refused, since lives follow from profiles: a client must
 * not believe that they were kept (RFC 8555 section 7.4).
 */
export function parseNewOrder(payload: Buffer): AcmeResult<OrderPayload> {
  const value = parsed(newOrderSchema, payload);
  if (!value.ok) return value;
  const { identifiers, notBefore, notAfter, profile, replaces } = value.value;
  if (notBefore !== undefined || notAfter !== undefined)
    return malformed(
      '"notBefore" and "notAfter" are not supported. Choose a profile: it decides the life',
    );
  const judged = identifiers.map(judgeIdentifier);
  const bad = judged.flatMap((each) => (each.ok ? [] : [each.bad]));
  const [first] = bad;
  if (first !== undefined)
    return bad.length === 1
      ? problem(first.type, first.detail, { subproblems: bad })
      : problem(first.type, `${bad.length} identifiers can not be certified`, {
          subproblems: bad,
        });
  const byText = new Map(
    judged.flatMap((each) =>
      each.ok ? [[`${each.value.type}:${each.value.value}`, each.value] as const] : [],
    ),
  );
  if (byText.size > maximumNames)
    return malformed(`an order has at most ${maximumNames} identifiers, not ${byText.size}`);
  return accepted({ identifiers: [...byText.values()], profile, replaces });
}

type BadIdentifier = {
  readonly type: 'unsupportedIdentifier' | 'rejectedIdentifier' | 'malformed';
  readonly detail: string;
  readonly identifier: AcmeIdentifier;
};

function judgeIdentifier({
  type,
  value,
}: {
  readonly type: string;
  readonly value: string;
}): { readonly ok: true; readonly value: OrderIdentifier } | { ok: false; bad: BadIdentifier } {
  const bad = (
    kind: BadIdentifier['type'],
    detail: string,
  ): { readonly ok: false; readonly bad: BadIdentifier } => ({
    ok: false,
    bad: {
      type: kind,
      detail,
      identifier: { type: type === 'ip' ? 'ip' : 'dns', value: value.slice(0, 253) },
    },
  });
  if (type === 'ip') {
    const ip = canonicalIp(value);
    return ip === undefined
      ? bad('malformed', `${JSON.stringify(value.slice(0, 80))} is no IP address`)
      : { ok: true, value: { type, value: ip } };
  }
  if (type !== 'dns')
    return bad(
      'unsupportedIdentifier',
      `the type ${JSON.stringify(type)} is not supported: use dns or ip`,
    );
  const name = value.toLowerCase();
  const below = name.startsWith('*.') ? name.slice(2) : name;
  const judged = parseDnsName(below);
  if (!judged.ok) return bad('malformed', judged.error.message);
  return name !== below && !below.includes('.')
    ? bad('rejectedIdentifier', `the wildcard ${name} stands for a whole top-level domain`)
    : { ok: true, value: { type, value: name } };
}

function parsed<T>(schema: z.ZodType<T>, payload: Buffer): AcmeResult<T> {
  const json = jsonIn(payload);
  if (json === undefined) return malformed('the payload is not JSON in UTF-8');
  const result = schema.safeParse(json.value);
  if (result.success) return accepted(result.data);
  const [issue] = result.error.issues;
  const at = issue?.path.map(String).join('.') ?? '';
  return malformed(
    `the payload is wrong${at === '' ? '' : ` at "${at.slice(0, 100)}"`}: ${issue?.message ?? ''}`,
  );
}

const malformed = (detail: string): ReturnType<typeof problem> => problem('malformed', detail);
