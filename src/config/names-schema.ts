import { z } from 'zod';
import { seconds } from './fields.ts';

/** Certificates for names, which have no identity of the mesh. */
export const namesSchema = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Whether certificates for names are issued, from a root of their own in the root ' +
          'token. Once it was on, turning it off ends issuing and keeps what relying parties need',
      ),
    rootPublishedSeconds: seconds(
      'A new root of names is published so long before it signs: relying parties that read ' +
        'it daily have it by then',
    ).default(259_200),
  })
  .prefault({});
