import type { Consumer } from '../../src/common/wire/generated/meshca/issuer/v1/Consumer.ts';
import type { DepartedGroup } from './departed.ts';
import { printable } from './printable.ts';

/** As the server knows it: src/domain/rotation/confirmation.ts. */
const inferredCapability = 'inferred';

/** The digest of a set that a consumer does not take. */
export const none = Buffer.alloc(0);

/**
 * `confirmed` says what they held when they left, and `departed` that this is all that is known.
 */
export const departedToWire = (
  { spiffeId, takes, state, digest, description, processes, until, inferred }: DepartedGroup,
  { id, since }: { readonly id: string; readonly since: number },
): Consumer => ({
  id,
  kind: 'workload-stream',
  spiffeId,
  state,
  since,
  capabilities: [
    'departed',
    takes === 'jwt' ? 'reports-jwt' : 'reports-roots',
    ...(inferred ? [inferredCapability] : []),
  ],
  reason: `disconnected with a certificate in hand; counts until ${new Date(until * 1000).toISOString()}`,
  description: printable(
    processes === 1 ? description : `${processes} processes, the last one ${description}`,
  ),
  authoritySetDigest: takes === 'jwt' ? none : Buffer.from(digest, 'hex'),
  jwtSetDigest: takes === 'jwt' ? Buffer.from(digest, 'hex') : none,
  issuerSetDigest: none,
  departedUntil: until,
});

/** From here on texts are cut: the server takes no message of more than 4 MiB. */
const manyLines = 1_000;
const shortText = 40;

/** A report that the server takes, however long the texts are that workloads gave it. */
export const bounded = (consumers: readonly Consumer[]): readonly Consumer[] =>
  consumers.length <= manyLines
    ? consumers
    : consumers.map((consumer) => ({
        ...consumer,
        reason: short(consumer.reason ?? ''),
        description: short(consumer.description ?? ''),
      }));

const short = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, shortText);
