import { z } from 'zod';
import { challengeTypes } from '../domain/acme/index.ts';
import { count, port, seconds } from './fields.ts';

const limit = (what: string, defaults: { readonly count: number; readonly seconds: number }) =>
  z
    .strictObject({
      count: count(`${what}: so many at most`),
      seconds: seconds(`${what}: in this time`),
    })
    .default(defaults);

const perspective = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
    .describe('Name of this place in the network, for records and metrics'),
  agentId: z.string().min(1).optional().describe('SPIFFE ID of the agent that stands there'),
  selectors: z
    .array(z.string().min(1))
    .min(1)
    .max(16)
    .optional()
    .describe(
      'Or: selectors that the nodes of the agents there have, all of them. One such agent is asked',
    ),
});

/** Agents that repeat validations from where they stand. */
const vantageSchema = z
  .strictObject({
    perspectives: z
      .array(perspective)
      .max(16)
      .default([])
      .describe(
        'Places from which agents repeat every validation, beside the server itself. Without any, ' +
          'the server alone decides. The agents must have vantage.enabled',
      ),
    disagreeing: z
      .number()
      .int()
      .min(0)
      .max(15)
      .default(0)
      .describe('So many of them may see something else than the server'),
    agreeing: count('So many of them must see the same as the server', 16)
      .optional()
      .describe(
        'So many of them must see the same as the server. Without a number: all but acme.validation.vantage.disagreeing',
      ),
    timeoutSeconds: seconds('An agent that has not answered by then is absent').default(20),
  })
  .prefault({});

/** The ACME server (RFC 8555). */
export const acmeSchema = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Whether certificates for names are given out by ACME, at <http.publicBaseUrl>/acme/directory. ' +
          'Needs names.enabled',
      ),
    termsOfService: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Where the terms are; with it a new account must agree to them'),
    website: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Where people read about this CA'),
    caaIdentities: z
      .array(z.string().min(1))
      .max(10)
      .default([])
      .describe('Names under which CAA records allow this CA to issue (RFC 8659)'),
    challenges: z
      .array(z.enum(challengeTypes))
      .min(1)
      .default(['http-01', 'dns-01', 'tls-alpn-01'])
      .describe('Challenges that are offered to accounts whose EAB key names none'),
    validation: z
      .strictObject({
        allowedNetworks: z
          .array(z.string())
          .max(256)
          .default([])
          .describe(
            'Networks (10.0.0.0/8) that validations may dial; without any, none is dialled',
          ),
        deniedNetworks: z
          .array(z.string())
          .max(256)
          .default([])
          .describe('Networks among them that validations may not dial'),
        resolvers: z
          .array(z.string().min(1))
          .max(8)
          .default([])
          .describe(
            'Recursive DNS servers, as addresses with an optional port; "system" stands for those ' +
              'of this machine. Without any, no DNS name is validated',
          ),
        httpPort: port('Port of http-01. Public clients expect 80').default(80),
        httpsPort: port(
          'Port of tls-alpn-01 and of redirects to HTTPS. Public clients expect 443',
        ).default(443),
        timeoutSeconds: seconds(
          'A validation with its repetitions that takes longer fails',
        ).default(30),
        concurrent: count('Validations at a time', 1_000).default(64),
        caaSeconds: seconds(
          'CAA records that were looked at longer ago are looked at again before a certificate is ' +
            'issued (8 hours in public CAs)',
        ).default(28_800),
        vantage: vantageSchema,
      })
      .prefault({}),
    nonceSeconds: seconds('Life of a nonce').default(3_600),
    orderSeconds: seconds('Life of an order that gets no certificate').default(86_400),
    authorizationSeconds: seconds('How long an authorization counts after its validation').default(
      86_400,
    ),
    keepOrdersSeconds: seconds(
      'An order stays so long after its end and that of its certificate, for clients and operators ' +
        'who ask for it; an exchanged EAB key after its end, with its account',
    ).default(604_800),
    limits: z
      .strictObject({
        ordersPerAccount: limit('Orders of an account', { count: 300, seconds: 10_800 }),
        ordersPerNames: limit('Orders of an account with the same names', {
          count: 10,
          seconds: 86_400,
        }),
        ordersPerTenant: limit('Orders of a tenant', { count: 3_000, seconds: 10_800 }),
        failuresPerName: limit('Failed validations of a name by an account', {
          count: 5,
          seconds: 3_600,
        }),
        changesPerAccount: limit('Changes of an account', { count: 20, seconds: 3_600 }),
        ordersPerSecond: count('Orders a second, of all accounts together').default(200),
        accountsPerSecond: count('New accounts a second').default(20),
        anonymousPerSecond: count('Requests without an account a second, from one address').default(
          100,
        ),
        badSignaturesPerSecond: count(
          'Requests with a wrong signature a second, of one account or key from one address',
        ).default(10),
      })
      .prefault({}),
  })
  .prefault({});
