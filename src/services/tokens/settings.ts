import { z } from 'zod';
import { isLoopbackUrl } from '../../common/runtime/index.ts';

/** Signatures with a shared secret are never accepted: who can check one could make one. */
export const tokenAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;
export type TokenAlgorithm = (typeof tokenAlgorithms)[number];

/** Who may be admitted with a token. */
const tokenPurposes = ['node', 'pipeline', 'acme', 'istio', 'linkerd'] as const;
export type TokenPurpose = (typeof tokenPurposes)[number];

const issuerNamePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

const text = (description: string) => z.string().min(1).max(2048).describe(description);
const seconds = (description: string, maximum: number) =>
  z.number().int().positive().max(maximum).describe(`${description} (seconds)`);
const audience = z.string().min(1).max(512);

const keysSchema = z
  .strictObject({
    url: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('URL of the JWKS; default: the one that discovery below the issuer names'),
    tokenFile: text(
      'File with a token that is sent with the request to keys.url, for example to an API ' +
        'server; read for each request',
    ).optional(),
    file: text('File with the JWKS, read again when it changes').optional(),
    refreshSeconds: seconds('Keys that were read longer ago are read again', 86_400).default(300),
    keepSeconds: seconds(
      'How long keys count on while the issuer can not be asked',
      7 * 86_400,
    ).default(3_600),
  })
  .prefault({});

const reviewSchema = z.strictObject({
  apiUrl: z
    .url({ protocol: /^https?$/ })
    .describe('Address of the API server, for example https://kubernetes.default.svc'),
  tokenFile: text(
    "File with the server's own service account token, which may create tokenreviews; read for each review",
  ).default('/var/run/secrets/kubernetes.io/serviceaccount/token'),
});

/** One issuer whose tokens count. */
const tokenIssuerSchema = z.strictObject({
  name: z
    .string()
    .regex(issuerNamePattern)
    .describe('Name of the issuer here: in the parent ID of its entries, in logs and lists'),
  type: z
    .enum(['oidc', 'kubernetes'])
    .describe('kubernetes: service account tokens of one cluster. oidc: everything else'),
  issuer: text('The iss claim of its tokens, exactly'),
  cluster: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,63}$/)
    .optional()
    .describe('kubernetes: name of the cluster; default the name of the issuer'),
  purposes: z
    .array(z.enum(tokenPurposes))
    .min(1)
    .default(['pipeline'])
    .describe('What its tokens are good for'),
  audiences: z
    .array(audience)
    .min(1)
    .max(16)
    .describe('A token must be for one of these, unless the way in demands its own audience'),
  algorithms: z
    .array(z.enum(tokenAlgorithms))
    .min(1)
    .default(['RS256', 'ES256'])
    .describe('Algorithms with which its tokens may be signed'),
  minimumRsaBits: z
    .number()
    .int()
    .min(2048)
    .max(8192)
    .default(2048)
    .describe('Shorter RSA keys of the issuer do not count (bits)'),
  clockSkewSeconds: z
    .number()
    .int()
    .min(0)
    .max(300)
    .default(30)
    .describe('Allowed difference between the clocks of issuer and server (seconds)'),
  maximumLifeSeconds: seconds(
    'Tokens that live longer from their issue on are refused',
    366 * 86_400,
  ).default(86_400),
  caFile: text(
    'PEM file with the CAs of the TLS certificates of issuer and API server; default those of the system',
  ).optional(),
  allowHttp: z
    .boolean()
    .default(false)
    .describe('Whether the issuer may be asked over plain HTTP on loopback, for tests'),
  timeoutSeconds: seconds('A request to the issuer that takes longer is abandoned', 60).default(5),
  keys: keysSchema,
  review: reviewSchema
    .optional()
    .describe(
      'kubernetes: ask the API server about each token (TokenReview), which also knows ' +
        'deleted pods; without it the JWKS decides alone',
    ),
  allowUnbound: z
    .boolean()
    .default(false)
    .describe('kubernetes: whether tokens that are bound to no pod count'),
});
export type TokenIssuerSettings = Readonly<z.output<typeof tokenIssuerSchema>>;

/** The configuration key `tokens`. */
export const tokensSchema = z
  .strictObject({
    issuers: z
      .array(tokenIssuerSchema)
      .max(64)
      .default([])
      .describe('Issuers whose tokens let nodes, pipelines and meshes in'),
  })
  .prefault({});
export type TokensSettings = Readonly<z.output<typeof tokensSchema>>;

export const clusterOf = ({ cluster, name }: TokenIssuerSettings): string => cluster ?? name;

/** A contradiction between keys, in words; undefined: none. */
export function tokensContradiction({ issuers }: TokensSettings): string | undefined {
  const names = new Set<string>();
  const places = new Set<string>();
  for (const [index, issuer] of issuers.entries()) {
    const key = `tokens.issuers.${index}`;
    if (names.has(issuer.name)) return `${key}.name (${issuer.name}) is that of another issuer`;
    names.add(issuer.name);
    const place = `${issuer.issuer} ${issuer.type === 'kubernetes' ? clusterOf(issuer) : ''}`;
    if (places.has(place))
      return `${key}.issuer (${issuer.issuer}) is stated twice: only clusters with different names may share an issuer`;
    places.add(place);
    const own = issuerContradiction(issuer, key);
    if (own !== undefined) return own;
  }
  return undefined;
}

function issuerContradiction(issuer: TokenIssuerSettings, key: string): string | undefined {
  const { type, review, keys, purposes, allowHttp } = issuer;
  if (keys.url !== undefined && keys.file !== undefined)
    return `${key}.keys has both url and file: keep one`;
  if (keys.tokenFile !== undefined && keys.url === undefined)
    return `${key}.keys.tokenFile needs keys.url: a token is sent nowhere else`;
  if (keys.keepSeconds < keys.refreshSeconds)
    return `${key}.keys.keepSeconds (${keys.keepSeconds}) is below refreshSeconds (${keys.refreshSeconds})`;
  if (type === 'oidc') {
    if (review !== undefined) return `${key}.review is for type kubernetes only`;
    if (issuer.cluster !== undefined) return `${key}.cluster is for type kubernetes only`;
    const mesh = purposes.find((purpose) => purpose === 'istio' || purpose === 'linkerd');
    if (mesh !== undefined)
      return `${key}.purposes has ${mesh}, which needs service account tokens: type kubernetes`;
  }
  const asked: readonly (readonly [string, string])[] = [
    ...(review === undefined ? [] : [['review.apiUrl', review.apiUrl] as const]),
    ...(keys.url === undefined ? [] : [['keys.url', keys.url] as const]),
    ...(review === undefined && keys.url === undefined && keys.file === undefined
      ? [['issuer', issuer.issuer] as const]
      : []),
  ];
  for (const [name, url] of asked) {
    if (!URL.canParse(url)) return `${key}.${name} (${url}) is no URL: set keys.url or keys.file`;
    const parsed = new URL(url);
    const { protocol, username, search } = parsed;
    if (username !== '' || search !== '')
      return `${key}.${name} has a user name or a query, which are not supported`;
    if (protocol !== 'https:' && !(protocol === 'http:' && allowHttp && isLoopbackUrl(parsed)))
      return `${key}.${name} (${url}) is not https: the keys of an issuer decide who gets in`;
  }
  return undefined;
}
