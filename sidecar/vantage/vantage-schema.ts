import { z } from 'zod';
import { IpRange } from '../../src/common/policy/ip-range.ts';

const count = (description: string, maximum: number) =>
  z.number().int().positive().max(maximum).describe(description);
const seconds = (description: string) =>
  z.number().int().positive().describe(`${description} (seconds)`);
const port = (description: string) => z.number().int().min(0).max(65_535).describe(description);
const network = z
  .string()
  .refine((text) => text.includes('/') && IpRange.parse(text).ok, 'write it as 10.0.0.0/8');

/** Whether this agent repeats validations of ACME, and what it may reach then. */
export const vantageSchema = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Whether the server may let this agent repeat validations of ACME. What follows holds ' +
          'whatever the server asks for',
      ),
    allowedNetworks: z
      .array(network)
      .max(256)
      .default([])
      .describe('Networks (10.0.0.0/8) that may be dialled; without any, none is dialled'),
    deniedNetworks: z
      .array(network)
      .max(256)
      .default([])
      .describe('Networks among them that may not be dialled'),
    resolvers: z
      .array(z.string().min(1))
      .max(8)
      .default([])
      .describe(
        'Recursive DNS servers, as addresses with an optional port; "system" stands for those ' +
          'of this machine. Best others than those of the server',
      ),
    httpPort: port('Port of http-01. Public clients expect 80').default(80),
    httpsPort: port(
      'Port of tls-alpn-01 and of redirects to HTTPS. Public clients expect 443',
    ).default(443),
    timeoutSeconds: seconds('A validation that takes longer fails').default(15),
    concurrent: count('Validations at a time; more are refused', 1_000).default(16),
    perSecond: count('Validations that are begun a second, on average', 1_000).default(20),
  })
  .prefault({})
  .describe('This agent as a vantage point of validations; see acme.md');
