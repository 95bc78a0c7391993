import { delegationOf, type PolicyFacts } from '../facts.ts';

export type Scalar = 'bool' | 'string' | 'int' | 'timestamp';
export type Type = Scalar | `list(${Scalar})`;

/** A value as the library takes it. */
export type CelInput = string | bigint | readonly string[] | CelTimestamp;

/** A message `google.protobuf.Timestamp`. */
interface CelTimestamp {
  readonly $typeName: 'google.protobuf.Timestamp';
  readonly seconds: bigint;
  readonly nanos: number;
}

export interface Field {
  readonly type: Type;
  /** Undefined: the request has no such fact. */
  readonly of: (facts: PolicyFacts) => CelInput | undefined;
}

/** The greatest `int` of CEL: a request without a lifetime counts as endless. */
const endless = 2n ** 63n - 1n;

const string = (of: (facts: PolicyFacts) => string | undefined): Field => ({ type: 'string', of });
const strings = (of: (facts: PolicyFacts) => readonly string[] | undefined): Field => ({
  type: 'list(string)',
  of,
});

/** What an expression can read as `request.NAME`. */
export const fields: Readonly<Record<string, Field>> = {
  kind: string(({ kind }) => kind),
  caller: string(({ caller }) => caller),
  caller_name: string(({ callerName }) => callerName),
  spiffe_id: string(({ spiffeId }) => spiffeId?.toString()),
  trust_domain: string(({ spiffeId }) => spiffeId?.trustDomain.name),
  path: strings(({ spiffeId }) => spiffeId?.segments),
  dns_names: strings(({ dnsNames }) => dnsNames),
  ips: strings(({ ips }) => ips),
  audiences: strings(({ audiences }) => audiences),
  profile: string(({ profile }) => profile),
  key_type: string(({ keyType }) => keyType),
  ttl: {
    type: 'int',
    of: ({ ttlSeconds }) => (ttlSeconds === undefined ? endless : BigInt(ttlSeconds)),
  },
  entry: string(({ entryId }) => entryId),
  delegation: string(delegationOf),
  tenant: string(({ tenant }) => tenant),
  eab_key: string(({ eabKeyId }) => eabKeyId),
  exchanged_by: string(({ exchangedBy }) => exchangedBy),
  token_issuer: string(({ tokenIssuer }) => tokenIssuer),
  token_subject: string(({ tokenSubject }) => tokenSubject),
  time: {
    type: 'timestamp',
    of: ({ at }) => ({
      $typeName: 'google.protobuf.Timestamp',
      seconds: BigInt(Math.floor(at)),
      nanos: 0,
    }),
  },
};

export const fieldOf = (name: string): Field | undefined =>
  Object.hasOwn(fields, name) ? fields[name] : undefined;
