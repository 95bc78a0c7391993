import { z } from 'zod';
import {
  controlPlaneSchemas,
  controlPlaneTypes,
  nodeAttestorSchemas,
  nodeAttestorTypes,
} from '../services/index.ts';
import { count, seconds } from './fields.ts';

/** How nodes prove who they are. */
export const attestationSchema = z
  .strictObject({
    ...nodeAttestorSchemas(nodeAttestorTypes),
    joinTokenTtlSeconds: seconds('Life of a join token if its creator states none').default(600),
    graceDays: z
      .number()
      .int()
      .min(0)
      .max(365)
      .default(7)
      .describe(
        'How long after its expiry an agent SVID may be renewed by proving its key (days). ' +
          'The time in which the server was away does not count, up to 90 days',
      ),
    perSecond: count('Attestations per second, for all callers together').default(50),
  })
  .prefault({});

/** The control planes whose clients this server serves in their place. */
export const controlPlanesSchema = z
  .strictObject(controlPlaneSchemas(controlPlaneTypes))
  .prefault({});
